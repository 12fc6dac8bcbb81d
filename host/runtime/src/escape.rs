//! Text of a plugin, made fit for a log line, a status or a terminal.

/// `text` without what moves a cursor or reorders a line, cut to at most `bytes_max` bytes.
#[must_use]
pub(crate) fn escaped(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let begin = out.len();
        if moves_or_hides(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
        if out.len() > bytes_max {
            out.truncate(begin);
            break;
        }
    }
    out
}

/// Control characters, and those that hide or change the direction of text, so that one line could
/// read as another.
fn moves_or_hides(character: char) -> bool {
    let hides = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let turns = matches!(character, '\u{2028}'..='\u{202e}');
    character.is_control() || hides || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w13_line_breaks_and_terminal_escapes_do_not_pass() {
        assert_eq!(escaped("a\nb\u{1b}[2J", 99), "a\\u{a}b\\u{1b}[2J");
        assert_eq!(escaped("x\u{202e}y", 99), "x\\u{202e}y");
        assert_eq!(escaped("Grüße", 99), "Grüße");
    }

    #[test]
    fn the_cut_is_between_characters() {
        assert_eq!(escaped("ééé", 5), "éé");
        assert_eq!(escaped("ab\n", 4), "ab");
    }
}
