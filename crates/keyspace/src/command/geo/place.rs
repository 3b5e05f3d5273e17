//! GEOPOS, GEOHASH and GEODIST.

use super::*;

pub(in crate::command) const GEOPOS: Command<Run> = row(
    Spec {
        name: "geopos",
        arity: -2,
        complexity: "O(M) for M members",
        summary: "Answers the longitude and latitude of members.",
        syntax: "key [member [member ...]]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    geopos,
);

pub(in crate::command) const GEOHASH: Command<Run> = row(
    Spec {
        name: "geohash",
        summary: "Answers the places of members as geohashes of eleven characters.",
        ..GEOPOS.spec
    },
    geohash,
);

pub(in crate::command) const GEODIST: Command<Run> = row(
    Spec {
        name: "geodist",
        arity: -4,
        complexity: "O(1)",
        summary: "Answers how far two members are from each other.",
        syntax: "key member1 member2 [M | KM | FT | MI]",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        ..SPEC
    },
    geodist,
);

/// The places of the members that the arguments from `index` on name.
fn places(ctx: &mut Ctx<'_>, args: Args<'_>, index: usize) -> Result<Vec<Option<Place>>, Error> {
    let zset = read_zset(ctx, &args[1])?;
    let place = |index: usize| zset?.score(&args[index]).map(Place::of_score);
    Ok((index..args.len()).map(place).collect())
}

fn geopos(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let places = places(ctx, args, 2)?;
    reply.array(places.len());
    for place in places {
        match place {
            Some(place) => write_place(reply, place),
            None => reply.null_array(),
        }
    }
    Ok(Outcome::Replied)
}

fn geohash(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let places = places(ctx, args, 2)?;
    reply.array(places.len());
    for place in places {
        match place {
            Some(place) => reply.bulk(&place.geohash()),
            None => reply.null(),
        }
    }
    Ok(Outcome::Replied)
}

fn geodist(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let unit_m = match (args.get(4), args.get(5)) {
        (None, _) => 1.0,
        (Some(word), None) => unit_m(word)?,
        _ => return Err(Error::Syntax),
    };
    let zset = read_zset(ctx, &args[1])?;
    let place = |index: usize| zset?.score(&args[index]).map(Place::of_score);
    match (place(2), place(3)) {
        (Some(from), Some(to)) => write_distance(reply, from.distance_m(to) / unit_m),
        _ => reply.null(),
    }
    Ok(Outcome::Replied)
}
