//! Reads every source in order, and returns the configuration or all its problems.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::conform::{conform, fill};
use super::keys::ROOT;
use super::model::Config;
use super::report::{Problems, Report};
use super::schema::Kind;
use super::tree::{self, Location, Node, Value};
use super::variables::{self, Variables};
use super::{check, dotenv, env, file, setting};

/// The name of standard input in messages.
const STANDARD_INPUT: &str = "standard input";

/// Where a configuration comes from. Stored, so that a reload reads the same sources.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// `--config` or the positional argument.
    pub config: Option<PathBuf>,
    /// `--env-file`; without it `./.env` is read.
    pub env_file: Option<PathBuf>,
    /// Whether no file and no variable is read at all.
    pub alone: bool,
    /// The process's environment.
    pub environment: Vec<(String, String)>,
    /// The directory for relative paths of these two files, and of `./config.yaml` and `./.env`.
    pub cwd: PathBuf,
    /// Replaces `listen`; comes with the option's name for messages.
    pub listen: Option<(&'static str, Vec<String>)>,
    /// `--to`, replaces `upstreams`.
    pub to: Option<Vec<String>>,
    pub workers: Option<String>,
    pub watch: bool,
    /// The text of standard input, if the file is `-`: a reload cannot read it again.
    pub input: Option<String>,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration for the program.
    pub config: Config,
    /// The effective configuration, which `check --print` shows.
    pub effective: Effective,
    /// For the log, at level warn.
    pub warnings: Vec<String>,
    /// What was read, in words: files, and whether variables or options set something.
    pub source: String,
    /// For the log, at level info.
    pub notes: Vec<String>,
    /// The configuration file that was named or found; `-` is standard input.
    pub path: Option<PathBuf>,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
    /// To load it again.
    pub sources: ConfigSources,
}

/// The configuration after all sources and defaults, displayed as YAML that reads back to the same.
#[derive(Clone, Debug)]
pub struct Effective(Node);

impl Effective {
    pub(super) fn root(&self) -> &Node {
        &self.0
    }

    /// Takes over the value that `old` has under a key of the top level.
    pub fn keep(&mut self, key: &str, old: &Effective) {
        if let Some(node) = old.0.written(key) {
            self.0.set(&[key], node.clone());
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_yaml::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

/// Reads, checks and merges the sources.
pub fn load(mut sources: ConfigSources) -> Result<Loaded, Problems> {
    let mut notes = Vec::new();
    let mut report = Report::default();
    let (mut environment, mut variables, mut path) = (Variables::new(), Variables::new(), None);
    let mut files = Vec::new();
    if !sources.alone {
        environment = sources.environment.iter().cloned().collect();
        variables = read_dotenv(&sources, &environment, &mut notes, &mut files, &mut report)?;
        path = config_path(&sources, &environment, &variables);
    }
    let source = match &path {
        Some(path) if is_standard_input(path) => {
            let text = sources.input.take().map_or_else(standard_input, Ok)?;
            sources.input = Some(text.clone());
            Some((STANDARD_INPUT.to_owned(), text))
        }
        Some(path) => {
            files.push(sources.cwd.join(path));
            Some((path.display().to_string(), read(&sources.cwd.join(path), path)?))
        }
        None => None,
    };

    let mut root = Node::new(Value::Map(Vec::new()), Location::Nowhere, tree::Path::default());
    if let Some((name, text)) = &source {
        let mut known = variables.clone();
        known.extend(environment.clone());
        root = document(name, text, &known, &mut report)?;
    }
    env::apply(&variables, &environment, &mut root, &mut report);
    options(&sources, &mut root, &mut report);
    let source_names = source_names(path.as_deref(), &root, &variables, &sources);
    let (config, effective, warnings) = complete(root, report, source.as_ref().map(|(name, text)| (name.as_str(), text.as_str())))?;
    files.extend(config.files().map(|path| sources.cwd.join(path)));
    Ok(Loaded { config, effective, warnings, source: source_names, notes, path, files, sources })
}

/// Every source that set something, in the order of precedence.
fn source_names(path: Option<&Path>, root: &Node, dotenv: &Variables, sources: &ConfigSources) -> String {
    let mut named = BTreeSet::new();
    collect_names(root, &mut named);
    let (options, variables): (Vec<_>, Vec<_>) =
        named.iter().map(|name| &**name).partition(|name| name.starts_with("--") || *name == "HOST:PORT");
    let (of_file, of_process): (Vec<_>, Vec<_>) = variables.into_iter().partition(|name| dotenv.contains_key(*name));
    let list = |what: &str, names: Vec<&str>| (!names.is_empty()).then(|| format!("{what} ({})", names.join(", ")));
    let shown = |path: &Path| if is_standard_input(path) { STANDARD_INPUT.to_owned() } else { path.display().to_string() };
    let file = path.map_or("no file".to_owned(), shown);
    let others = [
        list(dotenv_name(sources).trim_start_matches("./"), of_file),
        list("environment", of_process),
        (!options.is_empty()).then(|| options.join(", ")),
    ];
    let parts: Vec<String> = [Some(file)].into_iter().chain(others).flatten().collect();
    if path.is_none() && parts.len() == 1 { "no file, only defaults".into() } else { parts.join(", ") }
}

/// The variables and options that have set something.
fn collect_names(node: &Node, names: &mut BTreeSet<Arc<str>>) {
    if let Location::Named(name) = &node.place {
        names.insert(name.clone());
    }
    node.items().iter().for_each(|item| collect_names(item, names));
    node.entries().iter().for_each(|entry| collect_names(&entry.node, names));
}

/// The configuration that results from all sources and the defaults; or every problem. `source` is the file's name and text.
pub(super) fn complete(
    mut root: Node,
    mut report: Report,
    source: Option<(&str, &str)>,
) -> Result<(Config, Effective, Vec<String>), Problems> {
    log_files_in_dir(&mut root);
    fill(ROOT, &mut root);
    let config = check::read(&root, &mut report);
    let warnings = report.finish(source)?;
    Ok((config, Effective(root), warnings))
}

fn read_dotenv(
    sources: &ConfigSources,
    environment: &Variables,
    notes: &mut Vec<String>,
    files: &mut Vec<PathBuf>,
    report: &mut Report,
) -> Result<Variables, Problems> {
    let shown = dotenv_name(sources);
    let path = sources.cwd.join(&*shown);
    if sources.env_file.is_none() && !path.is_file() {
        return Ok(Variables::new());
    }
    let text = read(&path, Path::new(&*shown))?;
    let read = dotenv::parse(&text, environment).map_err(|why| Problems::one(format!("{shown}:{why}")))?;
    for warning in read.warnings {
        report.warn_at(&Location::named(&format!("{shown}:{}", warning.line)), &tree::Path::default(), warning.message);
    }
    notes.push(format!("read {shown}: {} variables", read.variables.len()));
    files.push(path);
    Ok(read.variables)
}

/// What messages call it.
fn dotenv_name(sources: &ConfigSources) -> Cow<'_, str> {
    sources.env_file.as_ref().map_or("./.env".into(), |given| given.to_string_lossy())
}

fn config_path(sources: &ConfigSources, environment: &Variables, dotenv: &Variables) -> Option<PathBuf> {
    if let Some(path) = &sources.config {
        return Some(path.clone());
    }
    let variable = [environment, dotenv].into_iter().find_map(|from| from.get("CONFIG_PATH").filter(|path| !path.is_empty()));
    if let Some(path) = variable {
        return Some(PathBuf::from(path));
    }
    let usual = Path::new("config.yaml");
    (sources.to.is_none() && sources.cwd.join(usual).exists()).then(|| usual.to_owned())
}

/// Whether the path is `-`, which means standard input.
fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn standard_input() -> Result<String, Problems> {
    read_from(Ok(std::io::stdin()), &STANDARD_INPUT)
}

fn read(path: &Path, name: &Path) -> Result<String, Problems> {
    read_from(std::fs::File::open(path), &name.display())
}

fn read_from(source: std::io::Result<impl Read>, name: &impl fmt::Display) -> Result<String, Problems> {
    /// Also ends the reading of a device or a pipe without an end.
    const MAX_BYTES: u64 = 2 << 20;
    let mut bytes = Vec::new();
    let result = source.and_then(|source| source.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = result {
        return Err(Problems::one(format!("{name}: cannot be read: {error}")));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problems::one(format!("{name}: larger than {MAX_BYTES} bytes, that is no configuration")));
    }
    decode(bytes, name)
}

/// A file's bytes as text.
pub(super) fn decode(bytes: Vec<u8>, name: &impl fmt::Display) -> Result<String, Problems> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        let column = String::from_utf8_lossy(good).chars().rev().take_while(|c| *c != '\n').count() + 1;
        Problems::one(format!("{name}:{line}:{column}: not UTF-8"))
    })
}

/// The file as a tree that conforms to the schema. Only a text that is not YAML ends the reading.
pub(super) fn document(name: &str, text: &str, variables: &Variables, report: &mut Report) -> Result<Node, Problems> {
    static DOCUMENT: Kind = Kind::Section(ROOT);
    let root = file::parse(text).map_err(|e| Problems::one(format!("{name}:{}:{}: {}", e.line, e.column, e.message)))?;
    let root = variables::put_in(root, variables, report);
    Ok(match root.value {
        Value::Null => root.with(Value::Map(Vec::new())),
        Value::Map(_) => conform(&DOCUMENT, "", root, report),
        _ => {
            report.error(&root, "expected keys and values, such as `listen: \"127.0.0.1:8080\"`");
            root.with(Value::Map(Vec::new()))
        }
    })
}

fn options(sources: &ConfigSources, root: &mut Node, report: &mut Report) {
    let path = |key: &str| tree::Path::default().key(key);
    if let Some((option, words)) = &sources.listen {
        let place = Location::named(option);
        let words = words.iter().map(|word| (word.as_str(), place.clone()));
        let value = setting::list(words, &path("listen"), report, |word, at, _| at.with(Value::Text(word.to_owned())));
        setting::put(root, &["listen"], value, &place, report);
    }
    if let Some(words) = &sources.to {
        let place = Location::named("--to");
        let value = setting::list(words.iter().map(|word| (word.as_str(), place.clone())), &path("upstreams"), report, setting::upstream);
        setting::put(root, &["upstreams"], value, &place, report);
    }
    if let Some(workers) = &sources.workers {
        let value = workers.parse().map_or_else(|_| Value::Text(workers.clone()), Value::Int);
        setting::put(root, &["workers"], value, &Location::named("--workers"), report);
    }
    if sources.watch {
        setting::put(root, &["watch"], Value::Bool(true), &Location::named("--watch"), report);
    }
}

/// If `logging.dir` is set, logs go there unless configured otherwise: the only defaults that depend on another key.
fn log_files_in_dir(root: &mut Node) {
    let Some(logging) = root.get("logging") else { return };
    if logging.get("dir").is_none() {
        return;
    }
    for (key, file) in [("access_log", "access.log"), ("error_log", "error.log")] {
        if !root.get("logging").is_some_and(|logging| logging.has(key)) {
            let path = tree::Path::default().key("logging").key(key);
            root.set(&["logging", key], Node::new(Value::Text(file.into()), Location::Nowhere, path));
        }
    }
}
