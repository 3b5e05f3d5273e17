//! Whether a reply has one of the shapes that its command's row declares.

use sterna_command::ReplyShape;
use sterna_protocol::Proto;
use sterna_protocol::decode::Value;

/// Whether `value`, a reply that is no error, has one of `shapes`.
pub fn conforms(shapes: &[ReplyShape], value: &Value, proto: Proto) -> bool {
    shapes.iter().any(|&shape| has_shape(shape, value, proto))
}

fn has_shape(shape: ReplyShape, value: &Value, proto: Proto) -> bool {
    let is_resp2 = proto == Proto::Resp2;
    match (shape, value) {
        (ReplyShape::Ok, Value::Simple(text)) => text == b"OK",
        (ReplyShape::Simple, Value::Simple(_))
        | (ReplyShape::Integer, Value::Int(_))
        | (ReplyShape::Bulk, Value::Bulk(_))
        | (ReplyShape::Double, Value::Double(_))
        | (ReplyShape::Boolean, Value::Boolean(_))
        | (ReplyShape::Null, Value::Null)
        | (ReplyShape::Array, Value::Array(_))
        | (ReplyShape::Map, Value::Map(_))
        | (ReplyShape::Set, Value::Set(_))
        | (ReplyShape::Push, Value::Push(_))
        | (ReplyShape::Verbatim, Value::Verbatim { .. }) => true,
        // What RESP2 says instead.
        (ReplyShape::Double | ReplyShape::Verbatim, Value::Bulk(_)) => is_resp2,
        (ReplyShape::Boolean, Value::Int(0 | 1)) => is_resp2,
        (ReplyShape::Set | ReplyShape::Push, Value::Array(_)) => is_resp2,
        // Flat, or as pairs where Redis had those before it had maps.
        (ReplyShape::Map, Value::Array(values)) => {
            let is_pair = |value: &Value| value.as_slice().is_some_and(|pair| pair.len() == 2);
            is_resp2 && (values.len() % 2 == 0 || values.iter().all(is_pair))
        }
        _ => false,
    }
}
