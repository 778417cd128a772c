//! Rows as columns: numbers to the right, all other values to the left.

use std::io::{self, Write};

use serde_json::Value;

/// The text of a null value.
const NOTHING: &str = "-";

/// Writes these fields of each row, with a header.
pub(super) fn write(names: &[&str], rows: &[Value], out: &mut impl Write) -> io::Result<()> {
    let cells = |row: &Value| names.iter().map(|name| cell(&row[*name])).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let head: Vec<String> = names.iter().map(|name| name.replace('_', " ")).collect();
    let column = |index: usize| rows.iter().map(move |row| row[index].as_str());
    let widths: Vec<usize> = (0..names.len())
        .map(|index| column(index).map(width).chain([width(&head[index])]).max().unwrap_or(0))
        .collect();
    let right: Vec<bool> = (0..names.len()).map(|index| column(index).all(is_number)).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[index] - width(cell));
            let gap = if index == 0 { "" } else { "  " };
            line += gap;
            line += &if right[index] { pad + cell } else { cell.clone() + &pad };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn width(text: &str) -> usize {
    text.chars().count()
}

pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.into(),
        // Control characters of a server must not reach the terminal.
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    }
}

fn is_number(text: &str) -> bool {
    text == NOTHING || text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_nothing_is_a_dash() -> io::Result<()> {
        let rows = [
            json!({ "name": "BTC\u{1b}[2J", "price": "1.5", "size": null }),
            json!({ "name": "ETHER", "price": "10.25", "size": 3 }),
        ];
        let mut out = Vec::new();
        write(&["name", "price", "size"], &rows, &mut out)?;
        let text = String::from_utf8_lossy(&out).into_owned();
        assert_eq!(text, "name    price  size\nBTC[2J    1.5     -\nETHER   10.25     3\n");
        Ok(())
    }
}
