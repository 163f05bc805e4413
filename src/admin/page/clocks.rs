//! The page's clocks: what is left of each thing that ends, and a bar that says how much of the whole that is.
//!
//! The server writes what is left now, and the moment; the script counts on from there.

use std::fmt::Write as _;

use super::{
    View,
    markup::{countdown, moment},
};
use crate::{
    clock::UnixTime,
    session::{
        Basis,
        status::{StateName, TokenReport},
    },
};

/// One thing that ends.
struct Clock {
    id: &'static str,
    name: &'static str,
    /// The whole of it, where there is one.
    from: Option<UnixTime>,
    /// When it ends, in this machine's time.
    until: Option<UnixTime>,
    /// What stands there once it is over, or where no moment is known.
    over: &'static str,
    note: String,
}

/// All of them.
pub(super) fn section(view: &View) -> String {
    let mut part = String::from(
        "<section aria-labelledby=\"clocks\">\n<h2 id=\"clocks\">Clocks</h2>\n\
         <div class=\"clocks\" data-part=\"clocks\">\n",
    );
    for clock in clocks(view) {
        part.push_str(&clock.render(view.now.wall));
    }
    part.push_str("</div>\n</section>\n");
    part
}

fn clocks(view: &View) -> Vec<Clock> {
    let report = &view.report;
    let mut clocks = Vec::new();
    if report.identity.is_none() {
        return clocks;
    }
    let (over, note) = session_note(view);
    clocks.push(Clock {
        id: "session",
        name: "Session",
        from: view.signed_in_at,
        until: report.refresh_token.expires_at,
        over,
        note,
    });
    for (id, name, token) in
        [("id-token", "ID token", &report.id_token), ("access-token", "Access token", &report.access_token)]
    {
        if let Some(token) = token {
            clocks.push(of_token(id, name, token, view));
        }
    }
    if let Some(at) = report.next_refresh_at.filter(|_| report.state != StateName::SessionEnded) {
        let from = report.last_refresh.as_ref().map(|last| last.at);
        let note = String::new();
        clocks.push(Clock { id: "refresh", name: "Next refresh", from, until: Some(at), over: "now", note });
    }
    clocks.push(Clock {
        id: "injecting",
        name: "Injecting until",
        from: None,
        until: report.injecting_until,
        over: if report.injecting_until.is_some() { "over" } else { "unknown" },
        note: "the latest moment at which requests still get a token, without another sign-in".into(),
    });
    if let Some(idle) = view.idle {
        clocks.push(Clock {
            id: "idle",
            name: "Idle lock",
            from: None,
            until: Some(view.now.wall + idle.closes_in),
            over: "closed",
            note: "a request puts it off".into(),
        });
    }
    clocks
}

fn of_token(id: &'static str, name: &'static str, token: &TokenReport, view: &View) -> Clock {
    // On this machine's clocks, which `exp` alone is not.
    let left = std::time::Duration::from_secs(token.expires_in_s);
    let until = if left.is_zero() { token.expires_at.min(view.now.wall) } else { view.now.wall + left };
    Clock { id, name, from: Some(token.issued_at), until: Some(until), over: "expired", note: String::new() }
}

/// The end with its basis: an estimate is never shown as a fact.
fn session_note(view: &View) -> (&'static str, String) {
    let sure = "set cognito.refresh_token_validity to make it sure";
    let report = &view.report;
    let over = match (report.state, report.refresh_token.expires_at) {
        (StateName::SessionEnded, _) => "ended",
        (_, None) => "unknown",
        (_, Some(_)) => "due",
    };
    let note = match report.refresh_token.basis {
        _ if over == "ended" => "until then the refresh token would have lasted, at the latest".into(),
        Basis::Configured => "at the latest, by the configured validity".into(),
        Basis::PoolSetting => "at the latest, by the pool's own setting".into(),
        Basis::Observed => "at the latest, as learnt from an earlier session".into(),
        Basis::Assumed => format!("assumed, from Cognito's default of 30 days; {sure}"),
        Basis::Unknown => format!("its end is not known; {sure}"),
    };
    (over, note)
}

impl Clock {
    fn render(&self, now: UnixTime) -> String {
        let id = self.id;
        let mut part = format!(
            "<div class=\"clock\" id=\"clock-{id}\"><h3 id=\"{id}\">{}</h3>\n\
             <p class=\"left\" role=\"timer\" aria-live=\"off\" aria-labelledby=\"{id}\">",
            self.name
        );
        let left = match self.until {
            Some(until) if until > now && self.over != "ended" => format!(
                "<span data-until=\"{}\" data-over=\"{}\">{}</span>",
                until.as_millis(),
                self.over,
                countdown(until.since(now))
            ),
            _ => format!("<span>{}</span>", self.over),
        };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(part, "{left}</p>");
        if let (Some(from), Some(until)) = (self.from, self.until) {
            part.push_str(&bar(from, until, now, self.over == "ended"));
        }
        if let Some(until) = self.until {
            let _ = writeln!(part, "<p class=\"at\">{}</p>", moment(until));
        }
        if !self.note.is_empty() {
            let _ = writeln!(part, "<p class=\"note\">{}</p>", self.note);
        }
        part.push_str("</div>\n");
        part
    }
}

/// How much of the whole is left. It says nothing that the text does not, so that readers of text are spared.
fn bar(from: UnixTime, until: UnixTime, now: UnixTime, is_over: bool) -> String {
    let (whole, left) = (until.since(from).as_secs_f64(), until.since(now).as_secs_f64());
    let share = if is_over || whole <= 0.0 { 0.0 } else { (left / whole).clamp(0.0, 1.0) };
    let moments = if is_over {
        String::new()
    } else {
        format!(" data-from=\"{}\" data-until=\"{}\"", from.as_millis(), until.as_millis())
    };
    format!(
        "<svg class=\"bar\" aria-hidden=\"true\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\">\
         <rect class=\"whole\" width=\"100\" height=\"4\"/><rect class=\"share\" width=\"{:.2}\" height=\"4\"{moments}/>\
         </svg>\n",
        share * 100.0
    )
}
