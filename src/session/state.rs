//! The machine.
#[cfg(test)]
pub(crate) mod fixtures {
    use std::time::Duration;

    use super::super::{Mode, Settings, TokenKind};

    /// The defaults of `proxy.toml`.
    pub(crate) fn settings() -> Settings {
        Settings {
            lead: Duration::from_secs(300),
            min_ttl: Duration::from_secs(60),
            mode: Mode::Ahead,
            last_chance: true,
            kinds: vec![TokenKind::Id],
            validity: None,
            warn_before: [7 * 86_400, 86_400, 4 * 3600, 3600, 600].map(Duration::from_secs).to_vec(),
            idle_lock: None,
            min_remaining_at_start: None,
            user_pool_id: "eu-west-1_Example".into(),
            client_id: "client".into(),
        }
    }
}
