//! Tests of the whole module: text, variables and options in, a configuration or all its problems out.

mod broken;
mod good;
mod guards;
mod precedence;

use super::{ConfigSources, Loaded, Problems, load};

/// A directory with `c.yaml` and the other files of a test.
struct Setup {
    dir: tempfile::TempDir,
    sources: ConfigSources,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = ConfigSources { cwd: dir.path().to_owned(), ..ConfigSources::default() };
        Self { dir, sources }
    }

    fn with(mut self, text: &str) -> Self {
        self.sources.config = Some("c.yaml".into());
        self.write("c.yaml", text)
    }

    fn write(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(self.sources.clone())
    }

    fn good(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("refused:\n{problems}"))
    }

    fn problems(&self) -> String {
        self.load().expect_err("accepted").to_string()
    }
}

fn good(text: &str) -> Loaded {
    Setup::new().with(text).good()
}

/// Also asserts that what `--print` shows is read back to the same.
fn good_and_stable(text: &str) -> Loaded {
    let loaded = good(text);
    let printed = loaded.effective.to_string();
    let again = good(&printed);
    assert_eq!(again.config, loaded.config, "{printed}");
    assert_eq!(again.effective.to_string(), printed);
    loaded
}
