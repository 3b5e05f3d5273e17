//! Places on the globe as numbers: a 52-bit geohash, whose order keeps near places near, and what searches need of it.
//!
//! ```text
//! cell of step s    2^s columns × 2^s rows; its number interleaves both:  … row₁ column₁ row₀ column₀
//!                                                                        (longitude in the odd bits, latitude in the even)
//! score             the cell of step 26 that a place is in
//! ```
//!
//! All places in a cell of a lower step are a range of scores. A search takes the cell around its centre, at the lowest step
//! at which it and its eight neighbours cover the shape, and looks at each place in those nine ranges.
//!
//! The digits that clients see depend on every rounding, so the formulas are Redis's to the letter.
//! Source: Redis's `geohash.c` and `geohash_helper.c`; the earth is a sphere and the projection Web Mercator's, which ends at
//! 85.05° north and south.

use std::f64::consts::PI;

const LATITUDE_MAX: f64 = 85.05112878;
const LONGITUDE_MAX: f64 = 180.0;
/// Steps of a score.
const STEP_MAX: u32 = 26;
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half of the equator.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// Degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
}

/// A cell: `bits` has 2 × `step` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    bits: u64,
    step: u32,
}

/// What a cell covers, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

/// What a search looks in, around its centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Radius.
    Circle { radius: f64 },
    /// Width from west to east, height from south to north.
    Box { width: f64, height: f64 },
}

/// A search: the shape's lengths are in a unit of so many metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Search {
    pub(crate) centre: Place,
    pub(crate) shape: Shape,
    pub(crate) unit_m: f64,
}

impl Place {
    /// Whether it is on the map.
    pub(crate) fn is_valid(self) -> bool {
        (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&self.longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&self.latitude)
    }

    /// The score of a place on the map.
    pub(crate) fn score(self) -> f64 {
        Cell::around(self, STEP_MAX, LATITUDE_MAX).bits as f64
    }

    /// The middle of the cell that a score is.
    pub(crate) fn of_score(score: f64) -> Place {
        // No place has a negative score; one is cast as a signed number, as Redis does.
        let bits = if score < 0.0 { score as i64 as u64 } else { score as u64 };
        let area = Cell { bits, step: STEP_MAX }.area();
        let longitude = middle(area.west, area.east).clamp(-LONGITUDE_MAX, LONGITUDE_MAX);
        let latitude = middle(area.south, area.north).clamp(-LATITUDE_MAX, LATITUDE_MAX);
        Place { longitude, latitude }
    }

    /// Metres along the surface.
    pub(crate) fn distance_m(self, other: Place) -> f64 {
        let (from, to) = (radians(self.longitude), radians(other.longitude));
        let v = ((to - from) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance_m(self.latitude, other.latitude);
        }
        let (south, north) = (radians(self.latitude), radians(other.latitude));
        let u = ((north - south) / 2.0).sin();
        let a = u * u + south.cos() * north.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    /// The eleven characters of a geohash as other software writes it: over all latitudes, the last one always `0`.
    pub(crate) fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::around(self, STEP_MAX, 90.0).bits;
        std::array::from_fn(|at| {
            // Ten characters of five bits are 50 of 52; Redis leaves the rest out.
            let index = if at == 10 { 0 } else { bits >> (52 - 5 * (at + 1)) & 0x1f };
            ALPHABET[index as usize]
        })
    }
}

fn middle(a: f64, b: f64) -> f64 {
    (a + b) / 2.0
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

fn latitude_distance_m(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (radians(b) - radians(a)).abs()
}

impl Cell {
    /// The cell of a step around a place, with the rows spread over latitudes up to `latitude_max`.
    fn around(place: Place, step: u32, latitude_max: f64) -> Cell {
        let row = (place.latitude + latitude_max) / (latitude_max + latitude_max);
        let column = (place.longitude + LONGITUDE_MAX) / (LONGITUDE_MAX + LONGITUDE_MAX);
        let cells = f64::from(1u32 << step);
        let bits = spread((row * cells) as u32) | spread((column * cells) as u32) << 1;
        Cell { bits, step }
    }

    fn area(self) -> Area {
        let cells = f64::from(1u32 << self.step);
        let (row, column) = (gather(self.bits), gather(self.bits >> 1));
        let at = |index: u32, plus: f64, max: f64| -max + (f64::from(index) + plus) / cells * (max + max);
        Area {
            west: at(column, 0.0, LONGITUDE_MAX),
            east: at(column, 1.0, LONGITUDE_MAX),
            south: at(row, 0.0, LATITUDE_MAX),
            north: at(row, 1.0, LATITUDE_MAX),
        }
    }

    /// The cell so many columns to the east and rows to the north, around the globe and over the poles.
    fn moved(self, columns: i32, rows: i32) -> Cell {
        let mask = (1u32 << self.step) - 1;
        // The last meridian is in a column of its own, beyond the others: it is left only by a move along it.
        let moved = |index: u32, by: i32| if by == 0 { index } else { index.wrapping_add_signed(by) & mask };
        let (row, column) = (moved(gather(self.bits), rows), moved(gather(self.bits >> 1), columns));
        Cell { bits: spread(row) | spread(column) << 1, step: self.step }
    }

    /// The scores of the places in it: from the first on, below the second.
    pub(crate) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }
}

/// Puts the bits of a number on the even places.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// The number whose bits are on the even places.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// The neighbours of a cell as columns to the east and rows to the north, itself first, in the order in which Redis looks
/// at them: an answer that is not sorted shows it.
const NEIGHBOURS: [(i32, i32); 9] =
    [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

impl Search {
    /// Metres from the centre to a place, if it is in the shape.
    pub(crate) fn distance_m(&self, place: Place) -> Option<f64> {
        let distance_m = || self.centre.distance_m(place);
        match self.shape {
            Shape::Circle { radius } => {
                Some(distance_m()).filter(|&distance_m| distance_m <= radius * self.unit_m)
            }
            Shape::Box { width, height } => {
                let (width_m, height_m) = (width * self.unit_m, height * self.unit_m);
                if latitude_distance_m(place.latitude, self.centre.latitude) > height_m / 2.0 {
                    return None;
                }
                let beside = Place { longitude: self.centre.longitude, latitude: place.latitude };
                (place.distance_m(beside) <= width_m / 2.0).then(distance_m)
            }
        }
    }

    /// The cells that cover the shape, in the order in which they are looked at.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut step = self.step();
        let mut centre = Cell::around(self.centre, step, LATITUDE_MAX);
        let reached = |columns, rows| centre.moved(columns, rows).area();
        let is_too_small = reached(0, 1).north < bounds.north
            || reached(0, -1).south > bounds.south
            || reached(1, 0).east < bounds.east
            || reached(-1, 0).west > bounds.west;
        if step > 1 && is_too_small {
            step -= 1;
            centre = Cell::around(self.centre, step, LATITUDE_MAX);
        }
        let area = centre.area();
        let is_needed = |&(columns, rows): &(i32, i32)| {
            step < 2
                || !(rows < 0 && area.south < bounds.south
                    || rows > 0 && area.north > bounds.north
                    || columns < 0 && area.west < bounds.west
                    || columns > 0 && area.east > bounds.east)
        };
        let mut cells: Vec<Cell> = Vec::with_capacity(NEIGHBOURS.len());
        for (columns, rows) in NEIGHBOURS.into_iter().filter(is_needed) {
            let cell = centre.moved(columns, rows);
            // With a step of 1 neighbours are the same cell. Redis compares with the one before, but not with the first.
            if cells.len() < 2 || cells.last() != Some(&cell) {
                cells.push(cell);
            }
        }
        cells
    }

    /// A box around the shape.
    fn bounds(&self) -> Area {
        let (width, height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (width_m, height_m) = (self.unit_m * width, self.unit_m * height);
        let Place { longitude, latitude } = self.centre;
        let latitude_delta = degrees(height_m / EARTH_RADIUS_M);
        let longitude_delta = |latitude: f64| degrees(width_m / EARTH_RADIUS_M / radians(latitude).cos());
        let delta = match latitude < 0.0 {
            true => longitude_delta(latitude - latitude_delta),
            false => longitude_delta(latitude + latitude_delta),
        };
        Area {
            west: longitude - delta,
            east: longitude + delta,
            south: latitude - latitude_delta,
            north: latitude + latitude_delta,
        }
    }

    /// A step at which nine cells cover the shape, or nearly.
    fn step(&self) -> u32 {
        let mut radius_m = self.unit_m
            * match self.shape {
                Shape::Circle { radius } => radius,
                Shape::Box { width, height } => {
                    ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
                }
            };
        if radius_m == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1i32;
        while radius_m < MERCATOR_MAX_M {
            radius_m *= 2.0;
            step += 1;
        }
        step -= 2;
        let latitude = self.centre.latitude.abs();
        step -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, STEP_MAX as i32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_geohashes_are_those_that_redis_gives() {
        // GEOADD, ZSCORE and GEOHASH of Redis 8.2.
        let palermo = Place { longitude: 13.361389, latitude: 38.115556 };
        let catania = Place { longitude: 15.087269, latitude: 37.502669 };
        assert_eq!(palermo.score(), 3479099956230698.0);
        assert_eq!(catania.score(), 3479447370796909.0);
        let palermo = Place::of_score(3479099956230698.0);
        let catania = Place::of_score(3479447370796909.0);
        assert_eq!(palermo, Place { longitude: 13.361389338970184, latitude: 38.1155563954963 });
        assert_eq!(palermo.geohash(), *b"sqc8b49rny0");
        assert_eq!(catania.geohash(), *b"sqdtr74hyu0");
        assert_eq!(format!("{:.4}", palermo.distance_m(catania)), "166274.1516");
    }

    #[test]
    fn interleaved_bits_come_apart_again() {
        for number in [0, 1, 2, 0x1234_5678, u32::MAX, 1 << 25] {
            assert_eq!(gather(spread(number)), number);
            assert_eq!(gather(spread(number) << 1 >> 1), number);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_place_in_a_shape_is_in_one_of_its_cells(
            longitude in -180.0..180.0, latitude in -85.0..85.0,
            east in -3.0..3.0, north in -3.0..3.0,
            length in 1.0..500_000.0, square: bool,
        ) {
            let centre = Place { longitude, latitude };
            let shape = match square {
                true => Shape::Box { width: 2.0 * length, height: length },
                false => Shape::Circle { radius: length },
            };
            let search = Search { centre, shape, unit_m: 1.0 };
            let place = Place { longitude: longitude + east, latitude: latitude + north };
            proptest::prop_assume!(place.is_valid() && latitude.abs() < 70.0);
            let score = place.score();
            let place = Place::of_score(score);
            if search.distance_m(place).is_some() {
                let is_in = |cell: Cell| (cell.scores().0..cell.scores().1).contains(&score);
                proptest::prop_assert!(search.cells().into_iter().any(is_in));
            }
        }
    }
}
