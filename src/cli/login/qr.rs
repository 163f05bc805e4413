//! QR codes in a terminal: two modules a character, by Unicode's half blocks.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

/// `text` as a QR code with its quiet zone, or `None` where it is too long for one. What is light in the code is
/// drawn, so that it is right on a dark terminal; on a light one it is the negative, which scanners read as well.
pub(super) fn rendered(text: &str) -> Option<String> {
    // Nothing covers or smears a terminal, so the least redundancy gives the smallest code.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_made_of_half_blocks_in_a_square() {
        let code = rendered("https://login.example.com/oauth2/authorize?x=1").expect("short enough");
        let lines: Vec<_> = code.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{code}");
        assert!(width.abs_diff(lines.len() * 2) <= 1, "{width} by {}", lines.len());
        assert!(code.chars().all(|c| " ▀▄█\n".contains(c)), "{code}");
        assert!(rendered(&"x".repeat(5000)).is_none());
    }
}
