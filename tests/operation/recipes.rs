//! docs/security.md as its reader does it: each configuration is started, and what stands behind it entered.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use sterna_protocol::decode::Value;
use sterna_tests::server::{Launch, Server, free_port, sterna_binary};

/// A section of the page that has a configuration.
#[derive(Debug, Default)]
struct Recipe {
    title: String,
    config: String,
    /// Commands of a shell, each with pieces of what it prints.
    shell: Vec<(String, Vec<String>)>,
    /// `NAME> COMMAND`, and the answer.
    console: Vec<(String, String)>,
}

fn recipes(page: &str) -> Vec<Recipe> {
    let mut recipes: Vec<Recipe> = Vec::new();
    let mut block = None;
    for line in page.lines() {
        match (block, line.strip_prefix("```"), line.strip_prefix("## ")) {
            (None, Some(kind), _) => block = Some(kind),
            (Some(_), Some(_), _) => block = None,
            (None, None, Some(title)) => {
                recipes.push(Recipe { title: title.to_owned(), ..Recipe::default() })
            }
            (Some(kind), None, _) => {
                let recipe = recipes.last_mut().expect("a block has a title");
                take_line(recipe, kind, line);
            }
            (None, None, None) => {}
        }
    }
    recipes.retain(|recipe| !recipe.config.is_empty());
    recipes
}

fn take_line(recipe: &mut Recipe, kind: &str, line: &str) {
    match (kind, line.strip_prefix("$ "), line.split_once("> ")) {
        ("conf", ..) => recipe.config += &format!("{line}\n"),
        ("sh", Some(command), _) => recipe.shell.push((command.to_owned(), Vec::new())),
        ("sh", None, _) => recipe.shell.last_mut().expect("a command").1.push(line.to_owned()),
        ("console", None, Some((name, _))) if !name.contains(' ') => {
            recipe.console.push((line.to_owned(), String::new()));
        }
        ("console", ..) => recipe.console.last_mut().expect("a command").1 = line.to_owned(),
        _ => panic!("a block of kind {kind:?} is not known"),
    }
}

/// Passwords by user, as the configuration has them.
fn passwords(config: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for line in config.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["requirepass", password] => found.insert("default".to_owned(), password.to_owned()),
            ["user", name, ..] => (words.iter().find_map(|word| word.strip_prefix('>')))
                .and_then(|password| found.insert(name.to_owned(), password.to_owned())),
            _ => None,
        };
    }
    found
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Simple(text) | Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Error(text) => format!("(error) {}", String::from_utf8_lossy(text)),
        Value::Int(number) => number.to_string(),
        Value::Array(parts) => parts.iter().map(text_of).collect::<Vec<_>>().join(" "),
        _ => "(nil)".to_owned(),
    }
}

/// What a shell says to `command`, in `folder`, where `sterna` is the program under test.
fn shell(folder: &Path, command: &str) -> String {
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .env_remove("REDISCLI_AUTH")
        .output()
        .expect("there is a shell");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    format!("{}{}{}", said[0], said[1], if output.status.success() { "" } else { "(failed)" })
}

fn try_recipe(recipe: &Recipe) {
    let ports = [("6380", free_port().to_string()), ("8079", free_port().to_string())];
    let here = |text: &str| {
        ports.iter().fold(text.to_owned(), |text, (standard, port)| text.replace(standard, port))
    };
    let launch = Launch::shards(2).file("sterna.conf", &here(&recipe.config)).config("{folder}/sterna.conf");
    std::fs::create_dir(launch.path("bin")).expect("the folder can be written");
    std::os::unix::fs::symlink(sterna_binary(), launch.path("bin/sterna"))
        .expect("the folder can be written");
    // What makes files comes before the start, what speaks to the server after it.
    let is_client =
        |(command, _): &(String, Vec<String>)| command.starts_with("sterna ") || command.contains("http:");
    let (clients, makers): (Vec<_>, Vec<_>) = recipe.shell.iter().partition(|line| is_client(line));
    let folder = launch.path("");
    for (command, _) in makers {
        let said = shell(&folder, command);
        assert!(!said.ends_with("(failed)"), "{}: {command}\n{said}", recipe.title);
    }
    let server = launch.start();
    for (command, expected) in clients {
        let said = shell(&folder, &here(command));
        for piece in expected {
            assert!(said.contains(&here(piece)), "{}: {command}\n{said}\nand not {piece}", recipe.title);
        }
        let is_refused = expected.iter().any(|piece| !piece.starts_with(['0', '{']));
        assert_eq!(is_refused, said.ends_with("(failed)"), "{}: {command}\n{said}", recipe.title);
    }
    let passwords = passwords(&recipe.config);
    for (line, expected) in &recipe.console {
        let said = enter(&server, &passwords, line);
        let is_as_expected = match expected.as_str() {
            "..." => !said.starts_with("(error)"),
            error if error.starts_with("(error)") => said.starts_with(error),
            text => said == text,
        };
        assert!(is_as_expected, "{}: {line}\n{said}\nand not {expected}", recipe.title);
    }
}

fn enter(server: &Server, passwords: &HashMap<String, String>, line: &str) -> String {
    let (name, command) = line.split_once("> ").expect("a name is in front");
    let mut client = server.connect();
    if name != "nobody" {
        client.request(&["AUTH", name, &passwords[name]]);
    }
    client.send(&command.split(' ').collect::<Vec<_>>());
    text_of(&client.value())
}

#[test]
fn the_recipes_of_the_page_on_security_do_what_it_says() {
    if Command::new("openssl").arg("version").output().is_err() {
        return sterna_tests::skipped("needs openssl; ./test installs it");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let recipes = recipes(&page);
    assert!(recipes.len() >= 5, "{recipes:?}");
    recipes.iter().for_each(try_recipe);
}
