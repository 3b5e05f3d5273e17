//! GEOSEARCH, GEOSEARCHSTORE, and what they came from: GEORADIUS, GEORADIUSBYMEMBER and their forms that only read.

use super::request::{Kind, Order, Request};
use super::*;
use crate::apart::{APART_MIN, work_of_all, work_of_taking};

pub(in crate::command) const GEOSEARCH: Command<Run> = row(
    Spec {
        name: "geosearch",
        arity: -7,
        since: "6.2.0",
        complexity: "O(N + M log M) for N members in the nine cells around the shape and M in it",
        summary: "Answers the members in a circle or a box around a place.",
        syntax: "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | \
                 BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] \
                 [WITHHASH]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    |ctx, args, reply| search(ctx, args, reply, 1, Kind::Search),
);

pub(in crate::command) const GEOSEARCHSTORE: Command<Run> = row(
    Spec {
        name: "geosearchstore",
        arity: -8,
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        uses: KeyUses::FirstAndSecond(KeyUse::OVERWRITES, KeyUse::READS),
        summary: "Stores the members in a circle or a box around a place.",
        syntax: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> \
                 <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] \
                 [COUNT count [ANY]] [STOREDIST]",
        reply: &[ReplyShape::Integer],
        ..GEOSEARCH.spec
    },
    |ctx, args, reply| search(ctx, args, reply, 2, Kind::SearchStore),
);

pub(in crate::command) const GEORADIUS: Command<Run> = row(
    Spec {
        name: "georadius",
        arity: -6,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLE_KEYS),
        keys: Keys::OneAndAfterWord { first: 1, words: &["STORE", "STOREDIST"], from: 6 },
        uses: KeyUses::FirstAndSecond(KeyUse::READS, KeyUse::OVERWRITES),
        since: "3.2.0",
        summary: "Answers, or stores, the members in a circle around a place.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
                 [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        reply: &[ReplyShape::Array, ReplyShape::Integer],
        ..GEOSEARCH.spec
    },
    |ctx, args, reply| search(ctx, args, reply, 1, Kind::Radius { by_member: false, may_store: true }),
);

pub(in crate::command) const GEORADIUS_RO: Command<Run> = row(
    Spec {
        name: "georadius_ro",
        arity: -6,
        since: "3.2.10",
        summary: "Answers the members in a circle around a place.",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] \
                 [COUNT count [ANY]] [ASC | DESC]",
        ..GEOSEARCH.spec
    },
    |ctx, args, reply| search(ctx, args, reply, 1, Kind::Radius { by_member: false, may_store: false }),
);

pub(in crate::command) const GEORADIUSBYMEMBER: Command<Run> = row(
    Spec {
        name: "georadiusbymember",
        arity: -5,
        keys: Keys::OneAndAfterWord { first: 1, words: &["STORE", "STOREDIST"], from: 5 },
        summary: "Answers, or stores, the members in a circle around one of them.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
                 [ASC | DESC] [STORE key | STOREDIST key]",
        ..GEORADIUS.spec
    },
    |ctx, args, reply| search(ctx, args, reply, 1, Kind::Radius { by_member: true, may_store: true }),
);

pub(in crate::command) const GEORADIUSBYMEMBER_RO: Command<Run> = row(
    Spec {
        name: "georadiusbymember_ro",
        element: ElementAt::Index(2),
        arity: -5,
        summary: "Answers the members in a circle around one of them.",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
                 [ASC | DESC]",
        ..GEORADIUS_RO.spec
    },
    |ctx, args, reply| search(ctx, args, reply, 1, Kind::Radius { by_member: true, may_store: false }),
);

/// A member that was found.
#[derive(Debug)]
struct Found {
    member: Box<[u8]>,
    score: f64,
    place: Place,
    distance_m: f64,
}

fn search(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    source_at: usize,
    kind: Kind,
) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    let zset = read_zset(ctx, &args[source_at])?;
    let request = Request::parse(args, kind, zset)?;
    if let (Some(zset), Some(centre)) = (zset, request.centre) {
        caller.check_work(work_of(zset, &request, centre))?;
    }
    let found = match (zset, request.centre) {
        (Some(zset), Some(centre)) => find(zset, &request, centre),
        _ => Vec::new(),
    };
    match request.store {
        None => write(reply, &request, &found),
        Some(key) => {
            let event = match kind {
                Kind::Radius { .. } => event::GEORADIUSSTORE,
                Kind::Search | Kind::SearchStore => event::GEOSEARCHSTORE,
            };
            let score = |found: &Found| match request.stores_distances {
                true => found.distance_m / request.unit_m,
                false => found.score,
            };
            let elements = found.into_iter().map(|found| (score(&found), found.member));
            let elements = Zset::in_order(elements.collect());
            reply.int(elements.len() as i64);
            let mut slot = ctx.slot(key);
            store(&mut slot, &elements, event);
            slot.count_changes((elements.len() as u64).saturating_sub(1));
        }
    }
    Ok(Outcome::Replied)
}

/// How much work it is to tell how far a member is, to sort it and to write numbers of 17 digits.
const WORK_PER_MEMBER: usize = 8;

/// How much work it is to look for them: all members of the cells around the shape.
fn work_of(zset: ZsetRef<'_>, request: &Request<'_>, centre: Place) -> usize {
    if work_of_all(&zset, zset.len()) < APART_MIN / WORK_PER_MEMBER {
        return 0;
    }
    let search = Search { centre, shape: request.shape, unit_m: request.unit_m };
    let ranks = |(min, max)| zset.ranks_by_score(&ScoreRange { min, max, above: false, below: true }).len();
    let found: usize = search.cells().into_iter().map(|cell| ranks(cell.scores())).sum();
    // Where any will do, no more are looked for than are asked for.
    let told = if request.any { found.min(request.count) } else { found };
    work_of_taking(&zset, found, zset.len()).max(told * WORK_PER_MEMBER)
}

/// The members that are asked for, in the order in which they are.
fn find(zset: ZsetRef<'_>, request: &Request<'_>, centre: Place) -> Vec<Found> {
    let Request { shape, unit_m, count, any, .. } = *request;
    let search = Search { centre, shape, unit_m };
    let most = if any { count } else { usize::MAX };
    let mut found = Vec::new();
    for cell in search.cells() {
        if found.len() >= most {
            break;
        }
        let (min, max) = cell.scores();
        let ranks = zset.ranks_by_score(&ScoreRange { min, max, above: false, below: true });
        zset.visit_while(ranks, Direction::Forward, &mut |member, score| {
            let place = Place::of_score(score);
            if let Some(distance_m) = search.distance_m(place) {
                found.push(Found { member: member.into(), score, place, distance_m });
            }
            found.len() < most
        });
    }
    // The nearest so many are meant, unless any will do.
    let order = match request.order {
        Order::AsFound if count > 0 && !any => Order::Nearest,
        order => order,
    };
    let by_distance = |a: &Found, b: &Found| a.distance_m.total_cmp(&b.distance_m);
    match order {
        Order::AsFound => {}
        Order::Nearest => found.sort_by(by_distance),
        Order::Farthest => found.sort_by(|a, b| by_distance(b, a)),
    }
    if count > 0 {
        found.truncate(count);
    }
    found
}

fn write(reply: &mut Reply<'_>, request: &Request<'_>, found: &[Found]) {
    let options = [request.with_distance, request.with_hash, request.with_place];
    let options = options.into_iter().filter(|&is_set| is_set).count();
    reply.array(found.len());
    for found in found {
        if options > 0 {
            reply.array(1 + options);
        }
        reply.bulk(&found.member);
        if request.with_distance {
            write_distance(reply, found.distance_m / request.unit_m);
        }
        if request.with_hash {
            // A geohash has 52 bits.
            reply.int(found.score as i64);
        }
        if request.with_place {
            write_place(reply, found.place);
        }
    }
}
