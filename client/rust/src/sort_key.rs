//! Sort keys: bytes that compare as values do, by the total order of docs/protocol.md.

use crate::value::Value;

/// Appends the encoding of a value, or of a missing one, to `out`; for a descending order inverted.
pub(crate) fn encode(value: Option<&Value>, is_descending: bool, out: &mut Vec<u8>) {
    let start = out.len();
    append(value.unwrap_or(&Value::Null), out);
    if is_descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn append(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0x01),
        Value::Bool(value) => out.extend([0x02, u8::from(*value)]),
        Value::Int(value) => append_int(*value, out),
        Value::Double(value) => append_number(*value, 0, out),
        Value::Timestamp(value) => {
            out.push(0x04);
            out.extend((value.as_micros() ^ i64::MIN).to_be_bytes());
        }
        Value::String(value) => append_escaped(0x05, value.as_bytes(), out),
        Value::Bytes(value) => append_escaped(0x06, value, out),
        Value::Key(value) => append_escaped(0x07, value.as_str().as_bytes(), out),
        Value::List(values) => {
            out.push(0x08);
            for value in values {
                append(value, out);
            }
            out.push(0x00);
        }
        Value::Map(members) => {
            out.push(0x09);
            for (name, value) in members {
                append_escaped(0x05, name.as_bytes(), out);
                append(value, out);
            }
            out.push(0x00);
        }
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the remainder is what is lost")]
fn append_int(value: i64, out: &mut Vec<u8>) {
    let nearest = value as f64;
    append_number(nearest, (i128::from(value) - nearest as i128) as i16, out);
}

/// A number is its nearest double, with what is left: from -512 to 512 for integers, 0 for doubles.
fn append_number(nearest: f64, remainder: i16, out: &mut Vec<u8>) {
    out.push(0x03);
    if nearest.is_nan() {
        out.extend([0; 10]);
        return;
    }
    // Adding 0.0 makes -0.0 equal to it.
    let bits = (nearest + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    out.extend(ordered.to_be_bytes());
    out.extend((remainder ^ i16::MIN).to_be_bytes());
}

fn append_escaped(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend([0x00, 0x01]);
}
