//! Where recordings are made: in guests and on this machine. Each is made when first asked for, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::{host, setup, vm};

use crate::tools::{self, Case};

/// The series on which the tools are asked unless all are wanted.
const TOOLS_SERIES: &str = "6.1";

/// What is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Workloads that know what they did.
    Workloads,
    /// What ends recordings, shortage of memory, and a wall clock that is set; in guests only.
    Endings,
    /// What the classic tools are asked.
    Tools,
}

impl Scene {
    const ALL: [Self; 3] = [Self::Workloads, Self::Endings, Self::Tools];

    /// Its scripts, and what is run of them in a guest.
    fn guest_script(self) -> Result<String> {
        Ok(match self {
            Self::Workloads => "sh /kernel/scenario.sh guest /kernel".into(),
            Self::Endings => "sh /kernel/endings.sh; sh /kernel/oom.sh; sh /kernel/identity.sh".into(),
            Self::Tools => format!(
                "for script in /kernel/tools/*.sh; do
                     name=$(basename $script .sh); mkdir $name
                     (cd $name; sh $script guest >script.log 2>&1; echo $? >code)
                 done
                 {}",
                tools::try_to_record()?
            ),
        })
    }

    fn is_native(self) -> bool {
        self != Self::Endings
    }

    fn dir_name(self, place: &str) -> String {
        match self {
            Self::Workloads => place.to_owned(),
            Self::Endings => format!("{place}-endings"),
            Self::Tools => format!("{place}-tools"),
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
            // What the tools are asked takes longest, and one kernel shows most of it.
            let is_all = std::env::var_os(xtask::test::ALL).is_some();
            let is_wanted =
                move |scene, series: &&&str| is_all || scene != Scene::Tools || **series == TOOLS_SERIES;
            let guests = |scene| {
                let series = setup::SERIES.iter().filter(move |series| is_wanted(scene, series));
                series.map(move |series| Self::new(Some(series), scene))
            };
            let mut places: Vec<_> = Scene::ALL.into_iter().flat_map(guests).collect();
            if setup::is_root() {
                let native = Scene::ALL.into_iter().filter(|scene| scene.is_native());
                places.extend(native.map(|scene| Self::new(None, scene)));
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
        let dir = host::target_dir()?.join("kernel-tests").join(self.scene.dir_name(self.name()));
        match self.series {
            Some(series) => {
                let mut guest = vm::Guest::new(series, &self.scene.guest_script()?, dir.clone())?;
                host::built("recorder").context("the recorder is to be built first")?;
                guest.files.push((host::repo().join("tests/kernel"), "/kernel".into()));
                guest.timeout = Duration::from_secs(3000);
                let disks = tempfile::tempdir().context("cannot make a temporary directory")?;
                if self.scene == Scene::Tools {
                    if let Some(size_mib) = Case::all().iter().filter_map(Case::disk_mib).max() {
                        let disk = disks.path().join("disk");
                        vm::make_disk(&disk, size_mib)?;
                        guest.disk = Some(disk);
                    }
                    for name in Case::all().iter().flat_map(Case::with) {
                        guest.files.push(vm::tool_file(&name).with_context(|| format!("no {name} here"))?);
                    }
                    for program in tools::compile(disks.path())? {
                        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                        guest.files.push((program, format!("/usr/bin/{name}")));
                    }
                }
                // Functions get and lose kprobes there while they are executed.
                guest.in_turn = self.scene == Scene::Endings;
                let outcome = guest.run()?;
                fs::write(dir.join("console.log"), outcome.console)?;
                fs::write(dir.join("output.log"), outcome.output)?;
            }
            None => natively(self.scene, &dir)?,
        }
        Ok(Recorded { dir })
    }
}

fn natively(scene: Scene, dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir)?;
    let programs = host::built("recorder")?;
    let programs = programs.parent().context("a program is in a directory")?;
    let compiled = tempfile::tempdir().context("cannot make a temporary directory")?;
    if scene == Scene::Tools {
        tools::compile(compiled.path())?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{}:{path}", programs.display(), compiled.path().display());
    let scripts = host::repo().join("tests/kernel");
    let run = |script: &Path, dir: &Path| {
        let mut sh = Command::new("sh");
        sh.arg(script).arg("native").arg(&scripts).current_dir(dir).env("PATH", &path);
        sh.output().context("cannot run sh")
    };
    if scene == Scene::Tools {
        for case in Case::all().iter().filter(|case| case.is_native()) {
            let dir = dir.join(&case.name);
            fs::create_dir(&dir)?;
            let output = run(&scripts.join("tools").join(&case.name).with_extension("sh"), &dir)?;
            fs::write(dir.join("script.log"), [output.stdout, output.stderr].concat())?;
            fs::write(dir.join("code"), output.status.code().unwrap_or(-1).to_string())?;
        }
        return Ok(());
    }
    let output = run(&scripts.join("scenario.sh"), dir)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the scenario failed natively: {said}");
    Ok(())
}
