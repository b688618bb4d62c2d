//! Names of files that a store's paths cannot say: control characters have others that stand for them.

/// The character of the private use area that stands for the control character 0; those of the others follow.
const STAND_IN: u32 = 0xF_0000;

/// `name` as the path of a store may hold it.
pub fn hide(name: &str) -> String {
    let stand_in = |c: char| match c.is_ascii_control() {
        true => char::from_u32(STAND_IN + u32::from(c)).unwrap_or(c),
        false => c,
    };
    name.chars().map(stand_in).collect()
}

/// The name, or path, that `hide` was given.
pub fn show(name: &str) -> String {
    name.chars().map(|c| control(c).unwrap_or(c)).collect()
}

/// True for names in which characters stand for others.
pub fn are_in(name: &str) -> bool {
    name.chars().any(|c| control(c).is_some())
}

fn control(c: char) -> Option<char> {
    let code = u32::from(c).checked_sub(STAND_IN)?;
    char::from_u32(code).filter(char::is_ascii_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_shown_again() {
        for name in ["a\tb", "plain", "\u{7f}x\n", "ä\u{1}"] {
            let hidden = hide(name);
            assert!(!hidden.chars().any(|c| c.is_ascii_control()), "{name:?}");
            assert_eq!(show(&hidden), name);
            assert_eq!(are_in(&hidden), hidden != name);
        }
    }
}
