//! What a package brings beside the program: man pages, completions, units and a first file of settings.
//!
//! Not here: the package itself, which `tests/packaging.sh` builds and installs.

use crate::harness::tls::identity;
use crate::harness::{Ronde, TIMEOUT, needs, ronde_only, scratch_directory};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const RONDE: &str = env!("CARGO_BIN_EXE_ronde");

/// Runs a command to its end: whether it succeeded, and all that it wrote.
fn run(command: &mut Command) -> (bool, String) {
    let done = command.output().expect("it starts");
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(text).expect("UTF-8"))
}

/// Writes what ronde prints with this flag to a file.
fn printed(flag: &str, value: &str, file: &str) -> PathBuf {
    let (succeeded, text) = run(Command::new(RONDE).args([flag, value]));
    assert!(succeeded, "{text}");
    let path = scratch_directory().join(file);
    fs::write(&path, text).expect("a file");
    path
}

fn packaged(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file)).expect(file)
}

#[test]
fn no_program_that_reads_the_man_pages_warns() {
    ronde_only!();
    needs!(Mandoc, Groff);
    for (page, file) in [("ronde", "ronde.1"), ("ronde.toml", "ronde.toml.5")] {
        let path = printed("--man", page, file);
        assert_eq!(run(Command::new("mandoc").args(["-T", "lint"]).arg(&path)), (true, String::new()));
        let (succeeded, text) =
            run(Command::new("groff").args(["-ww", "-man", "-T", "utf8", "-z"]).arg(&path));
        assert_eq!((succeeded, text.as_str()), (true, ""));
    }
}

/// What is typed, and one word that the shell offers then; and one that it does not.
const TYPED: [(&str, &str, &str); 10] = [
    ("ronde ", "check", "round-robin"),
    ("ronde ch", "check", "demo"),
    ("ronde check --of", "--offline", "--listen"),
    ("ronde demo --off", "", "--offline"),
    ("ronde --bal", "--balance", "--backend"),
    ("ronde --balance ", "least-connections", "check"),
    ("ronde check --access-log co", "combined", "plain"),
    ("ronde --completions ", "zsh", "check"),
    ("ronde status --wa", "--watch", "--wait"),
    ("ronde drain a:1 --wa", "--wait", "--watch"),
];

/// `offers` types a line into a shell, and returns the words that are offered.
fn assert_completes(offers: impl Fn(&str) -> String) {
    for (typed, expected, other) in TYPED {
        let offered = offers(typed);
        let words: Vec<_> = offered.split_whitespace().collect();
        assert!(expected.is_empty() || words.contains(&expected), "{typed:?}: {offered}");
        assert!(!words.contains(&other), "{typed:?}: {offered}");
    }
}

#[test]
fn bash_completes_commands_flags_and_values() {
    ronde_only!();
    needs!(Bash);
    let script = printed("--completions", "bash", "ronde.bash");
    // As readline does it: an unfinished word is the last, which may be empty.
    let driver = r#"
        source "$1" || exit
        IFS=' ' read -ra COMP_WORDS <<<"$2"
        [[ $2 != *' ' ]] || COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        $(complete -p ronde | sed 's/.*-F \([^ ]*\).*/\1/')
        printf '%s\n' "${COMPREPLY[@]}""#;
    let offers = |typed: &str| {
        let mut command = Command::new("bash");
        command.args(["--norc", "-c", driver, "bash"]).arg(&script).arg(typed);
        let (succeeded, text) = run(&mut command);
        assert!(succeeded, "{text}");
        text
    };
    assert_completes(offers);
    // Readline divides a word at the equals sign.
    assert!(offers("ronde --balance =").contains("client-address"));
    assert!(offers("ronde --balance = cl").contains("client-address"));
}

#[test]
fn fish_completes_commands_flags_and_values() {
    ronde_only!();
    needs!(Fish);
    let script = printed("--completions", "fish", "ronde.fish");
    assert_completes(|typed| {
        let line = "source $argv[1]; complete -C $argv[2]";
        let home = scratch_directory();
        let (succeeded, text) = run(Command::new("fish")
            .env("HOME", home)
            .args(["--no-config", "-c", line])
            .arg(&script)
            .arg(typed));
        assert!(succeeded, "{text}");
        text
    });
}

#[test]
fn zsh_completes_commands_flags_and_values() {
    ronde_only!();
    needs!(Zsh);
    let script = printed("--completions", "zsh", "_ronde");
    // A shell in a terminal of its own, as compinit needs it. Every match passes compadd, which prints it here.
    let driver = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "PS1= PS2=; fpath=(${1:h} \$fpath); autoload -Uz compinit; compinit -u -D; stty -echo"
        zpty -w shell 'compadd() {
            local -a matches; local match
            builtin compadd -O matches "$@"
            for match in $matches; do print -r -- "<$match>"; done
            builtin compadd "$@"
        }'
        zpty -w shell 'bindkey "^X" finish; finish() { zle -I; print @E""ND; }; zle -N finish; print @RE""ADY'
        zpty -r shell text '*@READY*'
        zpty -n -w shell "$2"$'\t\x18'
        zpty -r shell text '*@END*'
        print -r -- "$text""#;
    assert_completes(|typed| {
        let mut command = Command::new("timeout");
        let limit = TIMEOUT.as_secs().to_string();
        command.args([&*limit, "zsh", "-f", "-c", driver, "zsh"]).arg(&script).arg(typed);
        let (succeeded, text) = run(&mut command);
        assert!(succeeded, "{typed:?}: {text}");
        let matches = text.split('<').skip(1).filter_map(|rest| rest.split('>').next());
        matches.map(|word| format!("{} ", word.trim_end_matches('='))).collect()
    });
}

/// Checks a file without trying its backends.
fn check(text: &str) -> (bool, String) {
    let path = scratch_directory().join("ronde.toml");
    fs::write(&path, text).expect("a file");
    run(Command::new(RONDE).args(["check", "--offline", "--config"]).arg(&path))
}

#[test]
fn the_packaged_file_is_valid_and_so_is_every_setting_to_try_in_it() {
    ronde_only!();
    let text = packaged("ronde.toml");
    let (succeeded, said) = check(&text);
    assert!(succeeded && said.contains("\nno backend is tried"), "{said}");

    let on = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => setting,
        _ => line,
    });
    let identity = identity();
    let all = on.collect::<Vec<_>>().join("\n").replacen("listen = \"127.0.0.1:8080\"\n", "", 1);
    let all = all
        .replace("/run/credentials/ronde.service/certificate", &identity.certificate.display().to_string())
        .replace("/run/credentials/ronde.service/key", &identity.key.display().to_string());
    assert!(all.contains("\nmax-body") && all.contains("\n[[route]]"), "{all}");
    let (succeeded, said) = check(&all);
    assert!(succeeded, "{said}\n{all}");
}

/// The units, in a directory of their own; the service starts the ronde under test.
fn units() -> PathBuf {
    let directory = scratch_directory();
    for unit in ["ronde.service", "ronde.socket"] {
        let text = packaged(unit).replace("=ronde ", &format!("={RONDE} "));
        fs::write(directory.join(unit), text).expect("a unit");
    }
    directory
}

#[test]
fn systemd_understands_the_units() {
    ronde_only!();
    needs!(SystemdAnalyze);
    let directory = units();
    for unit in ["ronde.service", "ronde.socket"] {
        let mut command = Command::new("systemd-analyze");
        // The pages that it documents itself with are installed with it, and not here.
        command.args(["verify", "--man=no"]).arg(directory.join(unit));
        let (succeeded, said) = run(&mut command);
        let said: Vec<_> = said.lines().filter(|line| line.contains("ronde")).collect();
        assert!(succeeded && said.is_empty(), "{said:?}");
    }
}

#[test]
fn the_service_is_exposed_no_more_than_the_docs_say() {
    ronde_only!();
    needs!(SystemdAnalyze);
    let (_, said) = run(Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(units().join("ronde.service")));
    let line =
        said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let score = line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).expect("a score");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let docs = fs::read_to_string(docs).expect("the docs");
    let (_, told) = docs.split_once("exposure level: ").expect("the score in the docs");
    let told: f64 = told.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a score");
    assert!(score <= told, "{line}");
}

#[test]
fn the_service_may_take_several_times_the_memory_that_ronde_announces() {
    ronde_only!();
    let ronde = Ronde::with("--listen 127.0.0.1:0 127.0.0.1:1").spawn();
    let line = ronde.stderr.line_with("MB of memory");
    let (before, _) = line.split_once(" MB of memory").expect("a number");
    let announced: u64 = before.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    let unit = packaged("ronde.service");
    let most =
        unit.lines().find_map(|line| line.strip_prefix("MemoryMax=")?.strip_suffix('G')).expect("a limit");
    assert!(most.parse::<u64>().expect("gigabytes") * 1024 >= 4 * announced, "{line}");
}
