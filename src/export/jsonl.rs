//! Rows as JSON Lines: an object on each, in which a value stands as it was appended.

use super::Row;
use crate::columns::{Cell, Lead};
use crate::moment;
use crate::value;

/// Makes `line` that of a row.
pub(super) fn line(lead: &[Lead], row: &Row<'_>, line: &mut Vec<u8>) {
    line.clear();
    line.push(b'{');
    for (lead, cell) in lead.iter().zip(&row.lead) {
        let Some(cell) = cell else { continue };
        name(&lead.name, line);
        match cell {
            Cell::Text(text) => value::key_text(text, line),
            Cell::Int(time_us) if lead.type_.is_time() => value::key_text(&moment::micros(*time_us), line),
            Cell::Int(int) => line.extend_from_slice(int.to_string().as_bytes()),
            // No column in front holds such.
            Cell::Double(_) | Cell::Bool(_) => line.extend_from_slice(b"null"),
        }
    }
    if let Some(value) = row.value {
        name("value", line);
        line.extend_from_slice(value.json.as_bytes());
        if value.nonfinite {
            name("nonfinite", line);
            line.extend_from_slice(b"true");
        }
    }
    line.extend_from_slice(b"}\n");
}

/// What a member is called, behind a comma unless it is the first.
fn name(name: &str, line: &mut Vec<u8>) {
    if line.len() > 1 {
        line.push(b',');
    }
    value::key_text(name, line);
    line.push(b':');
}
