//! How much a head may be: H30. How long it may take, and how many there may be, is shown where it takes long.

use super::{
    rows::{play, row},
    scene::Scene,
};

fn get(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

#[tokio::test]
async fn of_heads() {
    let scene = Scene::new().await;
    let fields = |count: usize| (0..count).map(|number| format!("X-{number}: v\r\n")).collect::<String>();
    let value = |length: usize| "v".repeat(length);
    let names: Vec<_> = (0..60).map(|number| format!("x-{number}: v")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    // `host` and `localhost`, the long field's name, and four bytes a line count too: 64 KiB exactly fit.
    let fits = 64 * 1024 - ("hostlocalhost".len() + 4) - ("x-long".len() + 4);
    let arrives = format!("x-long: {}", value(fits));
    let rows = [
        row("H30 many fields", get(&fields(60))).arrives("GET /x", &names, ""),
        row("H30 more fields than a client has", get(&fields(150))).bare(431),
        row("H30 64 KiB", get(&format!("X-Long: {}\r\n", value(fits)))).arrives("GET /x", &[&arrives], ""),
        row("H30 one byte more", get(&format!("X-Long: {}\r\n", value(fits + 1)))).refused(431, "header_too_large"),
        row("H30 500 kB", get(&format!("X-Long: {}\r\n", value(400_000)))).refused(431, "header_too_large"),
        row("H30 2 MB, which are not read to their end", get(&format!("X-Long: {}\r\n", value(2_000_000)))).bare(431),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn a_limit_of_the_users_own() {
    let scene = Scene::with("", "limits.max_header_bytes = \"4KiB\"").await;
    let long = |length: usize| get(&format!("X-Long: {}\r\n", "v".repeat(length)));
    let rows = [
        row("H30 below it", long(3900)).arrives("GET /x", &[&format!("x-long: {}", "v".repeat(3900))], ""),
        row("H30 above it", long(4200)).refused(431, "header_too_large"),
    ];
    play(&scene, &rows).await;
}
