//! Ways to begin a session: today, importing tokens that another program obtained.

pub mod import;
