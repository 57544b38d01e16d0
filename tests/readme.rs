//! The table of settings in the README is the one that the program generates.
//!
//! `UPDATE_README=1 cargo test --test readme` updates it.

use ronde::config::markdown_table;
use std::fs;

const BEGIN: &str = "<!-- settings: made from src/config/mod.rs, kept true by tests/readme.rs -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_settings_in_the_readme_are_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(path).unwrap();
    let begin = readme.find(BEGIN).expect("the begin marker of the settings") + BEGIN.len();
    let end = readme.find(END).expect("the end marker of the settings");
    let table = markdown_table();
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(path, [&readme[..begin], &table, &readme[end..]].concat()).unwrap();
    } else {
        assert!(readme[begin..end] == table, "run UPDATE_README=1 cargo test --test readme");
    }
}
