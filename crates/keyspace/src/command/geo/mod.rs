//! The commands on places, which are kept in sorted sets: a score is a geohash (`geo.rs`).
//!
//! | file | commands |
//! |---|---|
//! | `add` | GEOADD |
//! | `place` | GEOPOS, GEOHASH, GEODIST |
//! | `search`, `request` | GEOSEARCH, GEOSEARCHSTORE, GEORADIUS and its kin; their options |

use sterna_command::{KeyUse, KeyUses};

use super::zset::range::store;
use super::zset::{read_zset, text_at};
use super::*;
use crate::geo::{Place, Search, Shape};
use crate::zset::{Direction, ScoreRange, Zset, ZsetRef, float};

pub(super) mod add;
mod error;
pub(super) mod place;
mod request;
pub(super) mod search;

pub use error::GeoError;

/// Two arguments from `index` on: longitude and latitude of a place on the map.
fn place_at(args: Args<'_>, index: usize) -> Result<Place, Error> {
    let longitude = float::score(&args[index]).ok_or(Error::NotFloat)?;
    let latitude = float::score(&args[index + 1]).ok_or(Error::NotFloat)?;
    let place = Place { longitude, latitude };
    if !place.is_valid() {
        return Err(GeoError::InvalidPlace { longitude, latitude }.into());
    }
    Ok(place)
}

/// The metres of a unit.
fn unit_m(word: &[u8]) -> Result<f64, Error> {
    match word {
        _ if is(word, "m") => Ok(1.0),
        _ if is(word, "km") => Ok(1000.0),
        _ if is(word, "ft") => Ok(0.3048),
        _ if is(word, "mi") => Ok(1609.34),
        _ => Err(GeoError::UnknownUnit.into()),
    }
}

/// Writes a distance, with four digits behind the point.
fn write_distance(reply: &mut Reply<'_>, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

/// Writes longitude and latitude.
fn write_place(reply: &mut Reply<'_>, place: Place) {
    reply.array(2);
    reply.double(place.longitude);
    reply.double(place.latitude);
}

/// What the rows of this file's folder have in common.
const SPEC: Spec = Spec {
    flags: Flags::READONLY,
    keys: Keys::at(1),
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.0",
    ..Spec::PLAIN
};
