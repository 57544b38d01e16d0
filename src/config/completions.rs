//! Completions for bash, zsh and fish, made from the tables of commands and settings.
//!
//! The problem: three shells want the same words in three languages. So the words are collected once (`Word`), and each
//! language is one function.
//!
//! Not here: where a shell looks for them (`packaging/deb.sh`, and `docs/operations.md`).

use super::command::CONFIG_FLAG;
use super::error::{Error, shown};
use super::{COMMANDS, OwnFlag, Setting, TABLE, TEXTS};

pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// The script for a shell.
pub(super) fn script(shell: Option<&str>) -> Result<String, Error> {
    match shell {
        Some("bash") => Ok(bash()),
        Some("zsh") => Ok(zsh()),
        Some("fish") => Ok(fish()),
        Some(other) => Err(Error::at(
            "--completions",
            format_args!("{} is unknown; give {}", shown(other), SHELLS.join(", ")),
        )),
        None => Err(Error::new(format!("--completions needs a value: {}", SHELLS.join(", ")))),
    }
}

/// A flag as a shell sees it.
struct Word {
    flag: &'static str,
    form: &'static str,
    what: &'static str,
    value: Value,
    repeated: bool,
}

/// What can stand behind a flag.
enum Value {
    /// The flag is a switch.
    Nothing,
    File,
    OneOf(&'static [&'static str]),
    /// Only the user knows.
    Unknown,
}

/// Those of the placeholders that a shell can fill in; a test reads each with the setting's own reader.
const KNOWN: [(&str, &[&str]); 4] = [
    ("HOW", &["round-robin", "least-connections", "client-address"]),
    ("POLICY", &["batch", "inherit"]),
    ("FORM", &["off", "plain", "combined", "json"]),
    ("LEVEL", &["off", "error", "warn", "info", "debug", "trace"]),
];

impl Word {
    fn of_setting(row: &'static Setting) -> Word {
        let known = KNOWN.iter().find(|(form, _)| *form == row.form);
        let value = match (row.form, known) {
            ("", _) => Value::Nothing,
            ("FILE", _) => Value::File,
            (_, Some((_, words))) => Value::OneOf(words),
            _ => Value::Unknown,
        };
        Word { flag: row.flag, form: row.form, what: row.what, value, repeated: row.separator.is_some() }
    }

    fn of_own(own: &'static OwnFlag) -> Word {
        let value = match (own.form, own.values) {
            ("", _) => Value::Nothing,
            // The next word is another.
            _ if own.may_have_value() => Value::Nothing,
            (_, []) => Value::Unknown,
            (_, words) => Value::OneOf(words),
        };
        Word { flag: own.flag, form: own.form, what: own.what, value, repeated: false }
    }

    /// Every flag that may stand on any command line.
    fn all() -> impl Iterator<Item = Word> {
        let config = Word {
            flag: CONFIG_FLAG,
            form: "FILE",
            what: "the configuration file",
            value: Value::File,
            repeated: false,
        };
        let settings = TABLE.iter().map(|row| Word::of_setting(row));
        [config].into_iter().chain(settings).chain(TEXTS.iter().map(Word::of_own))
    }
}

fn bash() -> String {
    let mut cases = String::new();
    let own = COMMANDS.iter().flat_map(|row| row.flags).map(Word::of_own);
    for word in Word::all().chain(own) {
        let action = match word.value {
            Value::Nothing => continue,
            Value::File => {
                "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")".to_owned()
            }
            Value::OneOf(words) => {
                format!("mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")", words.join(" "))
            }
            Value::Unknown => ":".to_owned(),
        };
        cases.push_str(&format!("        {}) {action}; return ;;\n", word.flag));
    }
    let flags: Vec<_> = Word::all().map(|word| word.flag).collect();
    let commands: Vec<_> = COMMANDS.iter().map(|row| row.name).collect();
    let with_flags = COMMANDS.iter().filter(|row| !row.flags.is_empty());
    let own: String = with_flags
        .map(|row| {
            let flags: Vec<_> = row.flags.iter().map(|own| own.flag).collect();
            format!("        {}) words+=' {}' ;;\n", row.name, flags.join(" "))
        })
        .collect();
    format!(
        "\
# bash completion for ronde, made by `ronde --completions bash`.
_ronde() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    # bash divides --flag=value into three words.
    [ \"$cur\" != = ] || {{ cur=; COMP_WORDS[COMP_CWORD]=; COMP_CWORD=$((COMP_CWORD + 1)); }}
    [ \"$prev\" != = ] || prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    COMPREPLY=()
    case $prev in
{cases}    esac
    local words='{flags}'
    case ${{COMP_WORDS[1]}} in
{own}    esac
    [ \"$COMP_CWORD\" != 1 ] || words+=' {commands}'
    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")
}}
complete -F _ronde ronde
",
        flags = flags.join(" "),
        commands = commands.join(" "),
    )
}

fn zsh() -> String {
    let spec = |word: Word| {
        let star = if word.repeated { "*" } else { "" };
        let what =
            word.what.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]").replace('\'', "'\\''");
        // A colon divides the parts of a specification.
        let form = word.form.trim_matches(['[', ']']).replace(':', "\\:");
        let Word { flag, .. } = word;
        let (equals, action) = match word.value {
            Value::Nothing => return format!("    '{star}{flag}[{what}]'\n"),
            Value::File => ("=", "_files".to_owned()),
            Value::OneOf(words) => ("=", format!("({})", words.join(" "))),
            Value::Unknown => ("=", " ".to_owned()),
        };
        format!("    '{star}{flag}{equals}[{what}]:{form}:{action}'\n")
    };
    let flags: String = Word::all().map(spec).collect();
    let commands: String = COMMANDS
        .iter()
        .map(|row| format!("    '{}:{}'\n", row.name, row.what.replace('\'', "'\\''").replace(':', "\\:")))
        .collect();
    let own: String = COMMANDS
        .iter()
        .filter(|row| !row.flags.is_empty())
        .map(|row| {
            let specs: String = row.flags.iter().map(Word::of_own).map(spec).collect();
            format!("    {}) flags+=(\n{specs}    ) ;;\n", row.name)
        })
        .collect();
    format!(
        "\
#compdef ronde
# Made by `ronde --completions zsh`.
_ronde_first() {{
  local -a commands=(
{commands}  )
  _describe command commands
}}
_ronde() {{
  local -a flags=(
{flags}  )
  case $words[2] in
{own}  esac
  _arguments $flags '1: :_ronde_first' '*: : '
}}
_ronde \"$@\"
"
    )
}

fn fish() -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let line = |word: Word, condition: &str| {
        let value = match word.value {
            Value::Nothing => String::new(),
            Value::File => " -r -F".to_owned(),
            Value::OneOf(words) => format!(" -x -a {}", quoted(&words.join(" "))),
            Value::Unknown => " -x".to_owned(),
        };
        let flag = word.flag.trim_start_matches('-');
        format!("complete -c ronde{condition} -l {flag}{value} -d {}\n", quoted(word.what))
    };
    let mut script = String::from("# Made by `ronde --completions fish`.\ncomplete -c ronde -f\n");
    for row in COMMANDS {
        let what = quoted(row.what);
        script.push_str(&format!("complete -c ronde -n __fish_is_first_arg -a {} -d {what}\n", row.name));
        let condition = format!(" -n '__fish_seen_subcommand_from {}'", row.name);
        row.flags.iter().for_each(|own| script.push_str(&line(Word::of_own(own), &condition)));
    }
    Word::all().for_each(|word| script.push_str(&line(word, "")));
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn every_word_that_is_offered_is_valid() {
        for row in TABLE {
            let Value::OneOf(words) = Word::of_setting(row).value else { continue };
            for word in words {
                let words = [row.flag, word, "a:1"].map(Into::into);
                assert_eq!(load(words.into(), []).command.err(), None, "{} {word}", row.flag);
            }
        }
    }

    #[test]
    fn every_command_and_flag_is_in_the_script_of_every_shell() {
        for shell in SHELLS {
            let script = script(Some(shell)).unwrap();
            let flags = TABLE.iter().map(|row| row.flag).chain(TEXTS.iter().map(|own| own.flag));
            let own = COMMANDS.iter().flat_map(|row| row.flags).map(|own| own.flag);
            let names = flags.chain(own).map(|flag| flag.trim_start_matches('-'));
            for name in names.chain(COMMANDS.iter().map(|row| row.name)) {
                let is_there = script.match_indices(name).any(|(at, _)| {
                    let next = script[at + name.len()..].chars().next();
                    next.is_some_and(|next| !next.is_alphanumeric() && next != '-')
                });
                assert!(is_there, "{name} for {shell}");
            }
        }
    }
}
