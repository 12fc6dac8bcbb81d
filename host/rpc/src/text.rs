//! Text that somebody else wrote, made fit for a status, a log line or a terminal.

/// `text`, without what moves a cursor or reorders a line, cut to `bytes_max`.
#[must_use]
pub(crate) fn escaped(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let start = out.len();
        if is_unsafe(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
        if out.len() > bytes_max {
            out.truncate(start);
            break;
        }
    }
    out
}

/// Control characters, and those that change the direction of text (which can make a line read as
/// another).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(escaped("a\u{1b}[2Jb\n", 64), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(escaped("x\u{202e}y", 64), "x\\u{202e}y");
        assert_eq!(escaped("Grüße", 64), "Grüße");
    }

    #[test]
    fn the_cut_never_splits_a_character() {
        assert_eq!(escaped("ééé", 5), "éé");
        assert_eq!(escaped("ab\n", 4), "ab");
        assert_eq!(escaped("abc", 0), "");
    }
}
