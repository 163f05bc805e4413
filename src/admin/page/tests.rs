//! The page as a text: what stands in it for each state, and what cannot.

use std::time::Duration;

use super::*;
use crate::admin::fixtures::{Fixture, signed_out};

fn rendered(fixture: &Fixture) -> String {
    let token = PageToken::random().expect("randomness");
    render(&View::of(&fixture.current), Some(&token))
}

#[test]
fn what_others_have_named_is_escaped() {
    let fixture = signed_out();
    fixture.publish(|snapshot| {
        let identity = snapshot.facts.identity.as_mut().expect("signed in");
        identity.username = "<script>alert(1)</script>".into();
        identity.sub = "\"x\"".into();
        snapshot.facts.consecutive_failures = 1;
        snapshot.facts.fix = Some("set 'a&b'".into());
        snapshot.gate = Gate::BackingOff { until: Duration::MAX, nudge_from: None, fix: String::new() };
        snapshot.facts.state = crate::session::status::StateName::BackingOff;
    });
    let page = rendered(&fixture);
    assert!(!page.contains("<script>alert"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; (&quot;x&quot;)"), "{page}");
    assert!(page.contains("<strong>set &#39;a&amp;b&#39;</strong>"), "{page}");
}

#[test]
fn the_policy_admits_the_style_sheet_and_the_script_and_nothing_else() {
    let response = respond(&View::of(&signed_out().current), PageToken::random().as_ref());
    let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("; script-src 'sha256-") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"));
    let page = String::from_utf8(response.body().to_vec()).unwrap();
    // The hashes are of what stands between the tags, to the letter.
    for (text, open, close) in [(STYLE, "<style>", "</style>"), (SCRIPT, "<script>", "</script>")] {
        let inner = page.split_once(open).unwrap().1.split_once(close).unwrap().0;
        assert_eq!(inner, text);
        assert!(policy.contains(&hash(inner)));
    }
    for forbidden in [" style=", " onclick=", "http://", "javascript:"] {
        assert!(!page.replace("http://www.w3.org", "").contains(forbidden), "{forbidden}");
    }
}

#[test]
fn every_state_says_what_it_is_and_what_to_do() {
    let fixture = signed_out();
    let page = rendered(&fixture);
    assert!(page.contains("<h1 id=\"state\">Nobody is signed in</h1>"), "{page}");
    assert!(page.contains("action=\"/login\"") && page.contains("<code>cognito-proxy login</code>"), "{page}");
    fixture.sign_in();
    let page = rendered(&fixture);
    assert!(page.contains("<h1 id=\"state\">Signed in</h1>"), "{page}");
    assert!(!page.contains("<code>"), "there is nothing to do: {page}");
    assert!(page.contains(">alice<") && page.contains(">1h 00m</span>"), "{page}");
    assert!(page.contains("alice signed in"), "what happened lately: {page}");
    fixture.publish(|snapshot| {
        snapshot.gate = Gate::Locked;
        snapshot.facts.state = crate::session::status::StateName::Locked;
    });
    let page = rendered(&fixture);
    assert!(page.contains("action=\"/unlock\"") && page.contains(">Unlock</button>"), "{page}");
}

/// The relative luminance of a colour (WCAG 2.2, "relative luminance").
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn every_text_can_be_read_in_light_and_in_dark() {
    let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").expect("both");
    for (name, sheet) in [("light", light), ("dark", dark)] {
        let colour = |variable: &str| {
            let after = sheet.split_once(&format!("--{variable}: ")).unwrap_or_else(|| panic!("{name} {variable}")).1;
            after[..7].to_owned()
        };
        for (text, ground) in [
            ("text", "page"),
            ("text", "card"),
            ("muted", "page"),
            ("muted", "card"),
            ("accent", "card"),
            ("accent", "page"),
            ("on-accent", "accent"),
            ("on-accent", "hover"),
            ("good", "good-soft"),
            ("warn", "warn-soft"),
            ("bad", "bad-soft"),
            ("text", "good-soft"),
            ("text", "warn-soft"),
            ("text", "bad-soft"),
            ("bad", "card"),
            ("bad", "page"),
        ] {
            let ratio = contrast(&colour(text), &colour(ground));
            // WCAG 2.2, 1.4.3 (AA).
            assert!(ratio >= 4.5, "{name}: {text} on {ground} is {ratio:.2}");
        }
        // WCAG 2.2, 1.4.11: what a bar shows.
        assert!(contrast(&colour("accent"), &colour("whole")) >= 3.0, "{name}: the bars");
    }
}
