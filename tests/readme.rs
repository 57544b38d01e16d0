//! The tables of settings and of metrics are those that the program generates, and what the pages link to exists.
//!
//! `UPDATE_README=1 cargo test --test readme` updates them.

use ronde::config::markdown_table;
use ronde::observe::metrics::snapshot::Standing;
use ronde::observe::metrics::text;
use ronde::observe::parked::Kind;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- settings: made from src/config/settings.rs, kept true by tests/readme.rs -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_settings_in_the_readme_are_up_to_date() {
    keep_up_to_date("README.md", BEGIN, &markdown_table(), END);
}

#[test]
fn the_metrics_in_the_manual_are_up_to_date() {
    let begin = "<!-- metrics: made from src/observe/metrics/families.rs, kept true by tests/readme.rs -->\n";
    keep_up_to_date("docs/operations.md", begin, &text::markdown(), "<!-- /metrics -->");
    let words = Kind::ALL.into_iter().filter(|kind| kind.has_client()).map(Kind::word);
    for word in words.chain(Standing::ALL.map(Standing::word)) {
        assert!(page("docs/operations.md").contains(&format!("`{word}`")), "{word}");
    }
    let begin = "<!-- causes: made from src/observe/failure.rs, kept true by tests/readme.rs -->\n";
    keep_up_to_date("docs/operations.md", begin, &text::markdown_of_causes(), "<!-- /causes -->");
}

/// Between these markers stands this table, or it is put there.
#[track_caller]
fn keep_up_to_date(name: &str, begin: &str, table: &str, end: &str) {
    let page = page(name);
    let begin = page.find(begin).expect("the begin marker") + begin.len();
    let end = begin + page[begin..].find(end).expect("the end marker");
    if std::env::var_os("UPDATE_README").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::write(path, [&page[..begin], table, &page[end..]].concat()).unwrap();
    } else {
        assert!(page[begin..end] == *table, "{name}: run UPDATE_README=1 cargo test --test readme");
    }
}

/// The README and all of docs/.
fn pages() -> Vec<String> {
    let docs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).expect("the docs");
    let names = docs.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pages = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    pages.chain(["README.md".to_owned()]).collect()
}

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|error| {
        panic!("{path}: {error}");
    })
}

/// What GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn what_the_pages_link_to_exists() {
    for from in pages() {
        let folder = Path::new(&from).parent().expect("a folder");
        for link in page(&from).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { Path::new(&from).to_owned() } else { folder.join(path) };
            let target = target.to_str().expect("a name");
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{link} in {from}");
            let has =
                |text: String| text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            assert!(heading.is_empty() || has(page(target)), "{link} in {from}");
        }
    }
}

#[test]
fn the_oldest_rust_is_the_same_everywhere() {
    let manifest = page("Cargo.toml");
    let oldest =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("rust-version");
    let oldest = oldest.trim_matches('"');
    assert!(page("README.md").contains(&format!("Rust {oldest} or later")));
    assert!(page("docs/running.md").contains(&format!("**{oldest}**")));
}
