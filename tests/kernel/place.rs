//! Where recordings are made: in guests and on this machine. Each is made when first asked for, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::{host, setup, vm};

use crate::tools::{self, Case};

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
    fn guest_script(self, cases: &[Case]) -> Result<String> {
        Ok(match self {
            Self::Workloads => "sh /kernel/scenario.sh guest /kernel".into(),
            Self::Endings => "sh /kernel/endings.sh; sh /kernel/oom.sh; sh /kernel/identity.sh".into(),
            Self::Tools => format!(
                "for name in {}; do
                     mkdir $name
                     (cd $name; sh /kernel/tools/$name.sh guest >script.log 2>&1; echo $? >code)
                 done
                 {}",
                cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>().join(" "),
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

/// Whether everything is wanted, which takes long.
pub fn is_all() -> bool {
    std::env::var_os(xtask::test::ALL).is_some()
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

    /// What the tools are asked here. That takes long in guests, so that they share it unless everything is wanted.
    pub fn cases(&self) -> Vec<Case> {
        let cases = Case::all().into_iter();
        let Some(series) = self.series else { return cases.filter(Case::is_native).collect() };
        let is_all = is_all();
        let nth = setup::SERIES.iter().position(|other| *other == series);
        let is_wanted = |index: usize| is_all || Some(index % setup::SERIES.len()) == nth;
        cases.enumerate().filter(|(index, _)| is_wanted(*index)).map(|(_, case)| case).collect()
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
                let cases = self.cases();
                let mut guest = vm::Guest::new(series, &self.scene.guest_script(&cases)?, dir.clone())?;
                host::built("recorder").context("the recorder is to be built first")?;
                guest.files.push((host::repo().join("tests/kernel"), "/kernel".into()));
                guest.timeout = Duration::from_secs(3000);
                let disks = tempfile::tempdir().context("cannot make a temporary directory")?;
                if self.scene == Scene::Tools {
                    if let Some(size_mib) = cases.iter().filter_map(Case::disk_mib).max() {
                        let disk = disks.path().join("disk");
                        vm::make_disk(&disk, size_mib)?;
                        guest.disk = Some(disk);
                    }
                    for name in Case::all().iter().flat_map(Case::with) {
                        guest.files.push(vm::tool_file(&name).with_context(|| format!("no {name} here"))?);
                    }
                    for (program, paths) in tools::compile(disks.path())? {
                        guest.files.extend(paths.into_iter().map(|path| (program.clone(), path)));
                    }
                }
                // Functions get and lose kprobes there while they are executed.
                guest.in_turn = self.scene == Scene::Endings;
                let outcome = guest.run()?;
                fs::write(dir.join("console.log"), outcome.console)?;
                fs::write(dir.join("output.log"), outcome.output)?;
            }
            None => natively(self.scene, &self.cases(), &dir)?,
        }
        Ok(Recorded { dir })
    }
}

fn natively(scene: Scene, cases: &[Case], dir: &Path) -> Result<()> {
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
        for case in cases {
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
