//! Where recordings are made: in guests and on this machine. Each is made when first asked for, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::{host, setup, vm};

const SCENARIO: &str = include_str!("scenario.sh");

/// What is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Workloads that know what they did.
    Workloads,
    /// What ends recordings, shortage of memory, and a wall clock that is set; in guests only.
    Endings,
}

impl Scene {
    /// Its scripts, and what is run of them in a guest.
    fn guest_script(self) -> &'static str {
        match self {
            Self::Workloads => "sh /kernel/scenario.sh guest /kernel",
            Self::Endings => "sh /kernel/endings.sh; sh /kernel/oom.sh; sh /kernel/identity.sh",
        }
    }
}

/// A kernel and what is recorded there.
pub struct Place {
    /// `None`: the kernel of this machine.
    series: Option<&'static str>,
    scene: Scene,
    recorded: OnceLock<Result<Recorded, String>>,
}

/// What the scenario left there.
pub struct Recorded {
    pub dir: PathBuf,
}

impl Place {
    /// Every place there is of `scene`, for as long as the program runs.
    pub fn all(scene: Scene) -> impl Iterator<Item = &'static Self> {
        static PLACES: OnceLock<Vec<Place>> = OnceLock::new();
        let places = PLACES.get_or_init(|| {
            let guests = |scene| setup::SERIES.iter().map(move |series| Self::new(Some(series), scene));
            let mut places: Vec<_> = guests(Scene::Workloads).chain(guests(Scene::Endings)).collect();
            if setup::is_root() {
                places.push(Self::new(None, Scene::Workloads));
            } else {
                eprintln!("not root: kernel tests run in guests only");
            }
            places
        });
        places.iter().filter(move |place| place.scene == scene)
    }

    fn new(series: Option<&'static str>, scene: Scene) -> Self {
        Self { series, scene, recorded: OnceLock::new() }
    }

    pub fn name(&self) -> &str {
        self.series.unwrap_or("native")
    }

    pub fn is_guest(&self) -> bool {
        self.series.is_some()
    }

    /// The recordings of this place; the first caller makes them, and all get its error.
    pub fn recorded(&self) -> Result<&Recorded, &str> {
        let made = self.recorded.get_or_init(|| self.record().map_err(|error| format!("{error:#}")));
        made.as_ref().map_err(String::as_str)
    }

    fn record(&self) -> Result<Recorded> {
        let name = match self.scene {
            Scene::Workloads => self.name().to_owned(),
            Scene::Endings => format!("{}-endings", self.name()),
        };
        let dir = host::target_dir()?.join("kernel-tests").join(name);
        match self.series {
            Some(series) => {
                let mut guest = vm::Guest::new(series, self.scene.guest_script(), dir.clone())?;
                host::built("recorder").context("the recorder is to be built first")?;
                guest.files.push((host::repo().join("tests/kernel"), "/kernel".into()));
                guest.timeout = Duration::from_secs(3000);
                // Functions get and lose kprobes there while they are executed.
                guest.in_turn = self.scene == Scene::Endings;
                let outcome = guest.run()?;
                fs::write(dir.join("console.log"), outcome.console)?;
                fs::write(dir.join("output.log"), outcome.output)?;
            }
            None => natively(&dir)?,
        }
        Ok(Recorded { dir })
    }
}

fn natively(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir)?;
    let programs = host::built("recorder")?;
    let programs = programs.parent().context("a program is in a directory")?;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut scenario = Command::new("sh");
    scenario.args(["-c", SCENARIO, "scenario", "native"]).arg(host::repo().join("tests/kernel"));
    let output = scenario.current_dir(dir).env("PATH", path).output().context("cannot run sh")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the scenario failed natively: {said}");
    Ok(())
}
