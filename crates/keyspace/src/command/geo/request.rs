//! The options of GEOSEARCH and of GEORADIUS, which are nearly the same.

use super::*;

/// Which command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// GEOSEARCH.
    Search,
    /// GEOSEARCHSTORE.
    SearchStore,
    /// GEORADIUS or GEORADIUSBYMEMBER.
    Radius {
        /// Whether the centre is a member.
        by_member: bool,
        /// Whether the result may be stored.
        may_store: bool,
    },
}

/// In which order members are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// In that of the cells.
    AsFound,
    Nearest,
    Farthest,
}

/// A request. Of a key that is not there the centre stays unknown.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) centre: Option<Place>,
    pub(super) shape: Shape,
    pub(super) unit_m: f64,
    pub(super) order: Order,
    /// How many members; 0: all.
    pub(super) count: usize,
    /// Whether any so many will do.
    pub(super) any: bool,
    pub(super) with_distance: bool,
    pub(super) with_hash: bool,
    pub(super) with_place: bool,
    /// Where the result goes.
    pub(super) store: Option<&'a [u8]>,
    /// Whether distances are stored as scores.
    pub(super) stores_distances: bool,
    has_member: bool,
    has_place: bool,
    has_radius: bool,
    has_box: bool,
}

impl<'a> Request<'a> {
    /// Reads a request about `zset`.
    pub(super) fn parse(args: Args<'a>, kind: Kind, zset: Option<ZsetRef<'_>>) -> Result<Request<'a>, Error> {
        let mut request = Request {
            centre: None,
            shape: Shape::Circle { radius: 0.0 },
            unit_m: 1.0,
            order: Order::AsFound,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_place: false,
            store: (kind == Kind::SearchStore).then(|| text_at(args, 1)),
            stores_distances: false,
            has_member: false,
            has_place: false,
            has_radius: false,
            has_box: false,
        };
        let mut at = request.read_fixed(args, kind, zset)?;
        while at < args.len() {
            at = request.read_option(args, at, kind, zset)?;
        }
        request.check(args, kind)?;
        Ok(request)
    }

    /// Reads what stands before the options; returns the index behind it.
    fn read_fixed(&mut self, args: Args<'a>, kind: Kind, zset: Option<ZsetRef<'_>>) -> Result<usize, Error> {
        match kind {
            Kind::Search => Ok(2),
            Kind::SearchStore => Ok(3),
            Kind::Radius { by_member: false, .. } => {
                self.centre = Some(place_at(args, 2)?);
                self.read_radius(args, 4)?;
                Ok(6)
            }
            Kind::Radius { by_member: true, .. } => {
                // Without a key nothing but the options is looked at, as in Redis.
                if zset.is_some() {
                    self.centre = Some(member_at(args, 2, zset)?);
                    self.read_radius(args, 3)?;
                }
                Ok(5)
            }
        }
    }

    /// Reads the option at `at`; returns the index behind it.
    fn read_option(
        &mut self,
        args: Args<'a>,
        at: usize,
        kind: Kind,
        zset: Option<ZsetRef<'_>>,
    ) -> Result<usize, Error> {
        let (word, values) = (&args[at], args.len() - at - 1);
        let flag = match word {
            _ if is(word, "WITHDIST") => Some(&mut self.with_distance),
            _ if is(word, "WITHHASH") => Some(&mut self.with_hash),
            _ if is(word, "WITHCOORD") => Some(&mut self.with_place),
            _ if is(word, "ANY") => Some(&mut self.any),
            _ if kind == Kind::SearchStore && is(word, "STOREDIST") => Some(&mut self.stores_distances),
            _ => None,
        };
        if let Some(flag) = flag {
            *flag = true;
            return Ok(at + 1);
        }
        if is(word, "ASC") || is(word, "DESC") {
            self.order = if is(word, "ASC") { Order::Nearest } else { Order::Farthest };
            return Ok(at + 1);
        }
        if is(word, "COUNT") && values >= 1 {
            let count = integer_at(args, at + 1)?;
            let count = usize::try_from(count).ok().filter(|&count| count > 0);
            self.count = count.ok_or(GeoError::CountTooSmall)?;
            return Ok(at + 2);
        }
        match kind {
            Kind::Radius { may_store, .. } => self.read_store(args, at, may_store),
            Kind::Search | Kind::SearchStore => self.read_shape(args, at, zset),
        }
    }

    fn read_store(&mut self, args: Args<'a>, at: usize, may_store: bool) -> Result<usize, Error> {
        let word = &args[at];
        let (members, distances) = (is(word, "STORE"), is(word, "STOREDIST"));
        if !may_store || at + 1 >= args.len() || !(members || distances) {
            return Err(Error::Syntax);
        }
        self.store = Some(text_at(args, at + 1));
        self.stores_distances = distances;
        Ok(at + 2)
    }

    fn read_shape(&mut self, args: Args<'a>, at: usize, zset: Option<ZsetRef<'_>>) -> Result<usize, Error> {
        let (word, values) = (&args[at], args.len() - at - 1);
        if is(word, "FROMMEMBER") && values >= 1 && !self.has_place {
            if zset.is_some() {
                self.centre = Some(member_at(args, at + 1, zset)?);
            }
            self.has_member = true;
            Ok(at + 2)
        } else if is(word, "FROMLONLAT") && values >= 2 && !self.has_member {
            self.centre = Some(place_at(args, at + 1)?);
            self.has_place = true;
            Ok(at + 3)
        } else if is(word, "BYRADIUS") && values >= 2 && !self.has_box {
            self.read_radius(args, at + 1)?;
            self.has_radius = true;
            Ok(at + 3)
        } else if is(word, "BYBOX") && values >= 3 && !self.has_radius {
            self.read_box(args, at + 1)?;
            self.has_box = true;
            Ok(at + 4)
        } else {
            Err(Error::Syntax)
        }
    }

    /// Reads a radius and its unit.
    fn read_radius(&mut self, args: Args<'_>, at: usize) -> Result<(), Error> {
        let radius = float::score(&args[at]).ok_or(GeoError::RadiusNotFloat)?;
        if radius < 0.0 {
            return Err(GeoError::RadiusNegative.into());
        }
        self.unit_m = unit_m(&args[at + 1])?;
        self.shape = Shape::Circle { radius };
        Ok(())
    }

    /// Reads width and height and their unit.
    fn read_box(&mut self, args: Args<'_>, at: usize) -> Result<(), Error> {
        let width = float::score(&args[at]).ok_or(GeoError::WidthNotFloat)?;
        let height = float::score(&args[at + 1]).ok_or(GeoError::HeightNotFloat)?;
        if width < 0.0 || height < 0.0 {
            return Err(GeoError::BoxNegative.into());
        }
        self.unit_m = unit_m(&args[at + 2])?;
        self.shape = Shape::Box { width, height };
        Ok(())
    }

    /// Whether the options go together.
    fn check(&self, args: Args<'_>, kind: Kind) -> Result<(), Error> {
        let searching = matches!(kind, Kind::Search | Kind::SearchStore);
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            return Err(GeoError::StoresMembersOnly { searching }.into());
        }
        if searching && !(self.has_member || self.has_place) {
            return Err(GeoError::CentreMissing { command: args[0].into() }.into());
        }
        if searching && !(self.has_radius || self.has_box) {
            return Err(GeoError::ShapeMissing { command: args[0].into() }.into());
        }
        if self.any && self.count == 0 {
            return Err(GeoError::AnyWithoutCount.into());
        }
        Ok(())
    }
}

/// The place of the member that argument `index` names.
fn member_at(args: Args<'_>, index: usize, zset: Option<ZsetRef<'_>>) -> Result<Place, Error> {
    let score = zset.and_then(|zset| zset.score(&args[index]));
    Ok(score.map(Place::of_score).ok_or(GeoError::NoSuchMember)?)
}
