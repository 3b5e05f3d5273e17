//! Why commands on places are refused, beyond what all commands are refused for.

use std::borrow::Cow;

use crate::error::Error;

/// A command on places that was refused for a reason of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum GeoError {
    /// A place that is not on the map.
    InvalidPlace {
        /// Degrees.
        longitude: f64,
        /// Degrees.
        latitude: f64,
    },
    /// A unit that is none of the four.
    UnknownUnit,
    /// A radius that is no number.
    RadiusNotFloat,
    /// A radius below 0.
    RadiusNegative,
    /// A width that is no number.
    WidthNotFloat,
    /// A height that is no number.
    HeightNotFloat,
    /// A width or height below 0.
    BoxNegative,
    /// The member at the centre is not there.
    NoSuchMember,
    /// COUNT below 1.
    CountTooSmall,
    /// ANY without COUNT.
    AnyWithoutCount,
    /// Distances, hashes or places where members are stored.
    StoresMembersOnly {
        /// Whether the command is GEOSEARCHSTORE.
        searching: bool,
    },
    /// No centre.
    CentreMissing {
        /// As it was sent.
        command: Box<[u8]>,
    },
    /// No shape.
    ShapeMissing {
        /// As it was sent.
        command: Box<[u8]>,
    },
}

impl Eq for GeoError {}

impl GeoError {
    /// The error line without its `-`.
    pub fn text(&self) -> Cow<'static, [u8]> {
        let text = match *self {
            GeoError::InvalidPlace { longitude, latitude } => {
                let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
                return text.into_bytes().into();
            }
            GeoError::UnknownUnit => "ERR unsupported unit provided. please use M, KM, FT, MI",
            GeoError::RadiusNotFloat => "ERR need numeric radius",
            GeoError::RadiusNegative => "ERR radius cannot be negative",
            GeoError::WidthNotFloat => "ERR need numeric width",
            GeoError::HeightNotFloat => "ERR need numeric height",
            GeoError::BoxNegative => "ERR height or width cannot be negative",
            GeoError::NoSuchMember => "ERR could not decode requested zset member",
            GeoError::CountTooSmall => "ERR COUNT must be > 0",
            GeoError::AnyWithoutCount => "ERR the ANY argument requires COUNT argument",
            GeoError::StoresMembersOnly { searching: true } => {
                "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            }
            GeoError::StoresMembersOnly { searching: false } => {
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            }
            GeoError::CentreMissing { ref command } => {
                let text = b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ";
                return [text, &**command].concat().into();
            }
            GeoError::ShapeMissing { ref command } => {
                let text = b"ERR exactly one of BYRADIUS and BYBOX can be specified for ";
                return [text, &**command].concat().into();
            }
        };
        Cow::Borrowed(text.as_bytes())
    }
}

impl From<GeoError> for Error {
    fn from(error: GeoError) -> Error {
        Error::Geo(error)
    }
}
