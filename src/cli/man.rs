//! `man`: the manual, from the definition of the command line and from the shipped configuration.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use super::{Exit, output};

/// The shipped configuration holds and explains every key, which a test proves.
const CONFIGURATION: &str = include_str!("../../proxy.toml");

/// The name of its page.
const CONFIGURATION_PAGE: &str = "cognito-proxy.toml.5";

/// `man`'s own arguments.
#[derive(Clone, Debug, Args)]
pub(super) struct ManArgs {
    /// Write one page a command and one for the configuration here; without it the main page is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints the main page, or writes all of them.
pub(super) fn run(styled: bool, args: &ManArgs) -> Exit {
    let written = match &args.directory {
        None => page(super::definition()).map(|page| output::to_stdout(&page)),
        Some(directory) => pages().and_then(|pages| {
            fs::create_dir_all(directory)?;
            for (name, text) in pages {
                fs::write(directory.join(name), text)?;
            }
            Ok(Exit::Ok)
        }),
    };
    written.unwrap_or_else(|error| {
        let place = args.directory.as_ref().map_or_else(|| "the manual".into(), |path| path.display().to_string());
        output::error(styled, &format!("{place} cannot be written: {error}"), None);
        Exit::Other
    })
}

/// Every page with its file's name.
fn pages() -> io::Result<Vec<(String, String)>> {
    let definition = super::definition();
    let mut pages = vec![("cognito-proxy.1".to_owned(), page(definition.clone())?)];
    for command in definition.get_subcommands().filter(|command| !command.is_hide_set()) {
        // Pages are looked for by one word: `man cognito-proxy-status`.
        let name = format!("cognito-proxy-{}", command.get_name());
        let synopsis = format!("cognito-proxy {}", command.get_name());
        let command = command.clone().name(name.clone()).bin_name(synopsis).version(env!("CARGO_PKG_VERSION"));
        pages.push((format!("{name}.1"), page(command)?));
    }
    pages.push((CONFIGURATION_PAGE.to_owned(), configuration_page()));
    Ok(pages)
}

fn page(command: Command) -> io::Result<String> {
    let mut roff = Vec::new();
    Man::new(command).render(&mut roff)?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

/// The configuration as it ships, between what names the page and what leads on.
fn configuration_page() -> String {
    let mut roff = String::from(
        ".TH cognito-proxy.toml 5\n\
         .SH NAME\n\
         cognito\\-proxy.toml \\- the configuration of cognito\\-proxy(1)\n\
         .SH DESCRIPTION\n\
         Every key, at its default where it has one and as an example where it has none. A file needs only what differs.\n\
         It is looked for in $XDG_CONFIG_HOME/cognito\\-proxy/PROFILE.toml and /etc/cognito\\-proxy/PROFILE.toml;\n\
         COGNITO_PROXY_SECTION__KEY in the environment sets any of its keys.\n\
         .SH KEYS\n\
         .nf\n",
    );
    for line in CONFIGURATION.lines() {
        roff.push_str(&literal(line));
        roff.push('\n');
    }
    roff.push_str(".fi\n.SH SEE ALSO\ncognito\\-proxy(1), cognito\\-proxy\\-check(1)\n");
    roff
}

/// A line of text that roff prints as it is (groff(7): `\` escapes; a request begins with `.` or `'`).
fn literal(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_and_for_the_configuration() {
        let pages = pages().expect("rendered");
        for command in crate::cli::definition().get_subcommands() {
            let name = format!("cognito-proxy-{}.1", command.get_name());
            let (_, text) = pages.iter().find(|(known, _)| *known == name).expect("a page for each");
            assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH OPTIONS"), "{name}: {text}");
        }
        let (_, configuration) = pages.last().expect("the configuration's");
        assert!(configuration.contains("\nuser_pool_id = ") || configuration.contains("user_pool_id = "));
    }

    #[test]
    fn roff_takes_no_line_for_a_request_and_no_backslash_for_an_escape() {
        for (line, roff) in [("plain", "plain"), (".x", "\\&.x"), ("'x", "\\&'x"), ("a\\n-b", "a\\en\\-b"), ("", "")] {
            assert_eq!(literal(line), roff);
        }
    }
}
