//! `analyze shell`, driven on a terminal and from standard input.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{Winsize, openpty};

use crate::Bench;

/// A query that takes minutes.
const LONG: &str =
    "SELECT count(*) FROM packets a, packets b, packets c WHERE a.len_bytes + b.len_bytes < c.len_bytes + 60";
const LIMIT: Duration = Duration::from_secs(60);

/// A program that leads a session on a terminal of its own.
struct Terminal {
    child: Child,
    master: File,
    /// What came out of it.
    text: String,
    /// What was waited for already.
    seen: usize,
}

impl Terminal {
    fn start(bench: &Bench, columns: u16, words: &[&str]) -> Self {
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = bench.command(words);
        command.stdin(end()).stdout(end()).stderr(end());
        command.env("TERM", "xterm").env("XDG_STATE_HOME", bench.path("state"));
        // SAFETY: two system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        Self { child: command.spawn().unwrap(), master: pty.master.into(), text: String::new(), seen: 0 }
    }

    /// Take what has come; when the program has ended, reading fails.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.master.read(&mut buffer) {
            self.text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    /// Wait until `part` comes after what was waited for before.
    fn wait_for(&mut self, part: &str) {
        let start = Instant::now();
        loop {
            self.read();
            if let Some(at) = self.text[self.seen..].find(part) {
                self.seen += at + part.len();
                return;
            }
            let has_ended = self.child.try_wait().unwrap().is_some();
            assert!(!has_ended && start.elapsed() < LIMIT, "no {part:?} at the end of {:?}", self.tail());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn tail(&self) -> String {
        let text = &self.text[self.seen..];
        text[text.ceil_char_boundary(text.len().saturating_sub(500))..].to_owned()
    }

    fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Type a line when it is asked for one.
    fn line(&mut self, line: &str) {
        self.wait_for("ktape> ");
        self.send(line);
        self.send("\r");
    }

    fn end(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                self.read();
                return (status.code(), std::mem::take(&mut self.text));
            }
            assert!(start.elapsed() < LIMIT, "it does not end: {:?}", self.tail());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_session_on_a_terminal() {
    let bench = Bench::with(&["gaps", "mkdirs"]);
    fs::write(bench.path("more.sql"), "SELECT 30 + 3 AS a;\nSELECT 40 + 4 AS b;\n").unwrap();
    let mut shell = Terminal::start(&bench, 100, &["shell", "gaps.trace"]);
    shell.wait_for("1 trace is open. End a query with ';'.");
    // Several lines are one query.
    shell.line("SELECT count(*) + 7000000");
    shell.send("AS n FROM packets;\r");
    shell.wait_for("7001001");
    shell.line("\\d");
    shell.wait_for("packets");
    shell.wait_for("loss_reasons");
    shell.wait_for("gaps()");
    shell.line("\\d packets");
    shell.wait_for("len_bytes");
    shell.line("\\d gaps");
    shell.wait_for("SELECT * FROM gaps(");
    // An error does not end it.
    shell.line("SELECT nothing FROM packets;");
    shell.wait_for("there is no column 'nothing'");
    shell.line("\\nothing");
    shell.wait_for("there is no command \\nothing");
    shell.line("\\timing");
    shell.wait_for("is said");
    shell.line("\\i more.sql");
    shell.wait_for("33");
    shell.wait_for("44");
    shell.wait_for(" s\r\n");
    shell.line("\\set min 5ms");
    shell.line("SELECT $min + 1;");
    shell.wait_for("5000001");
    shell.line("\\f csv");
    shell.line("SELECT 'a' AS x, 'b' AS y;");
    shell.wait_for("x,y");
    shell.line("\\o rows.ndjson");
    shell.line("SELECT 5 AS five;");
    shell.wait_for("written to rows.ndjson");
    assert_eq!(fs::read_to_string(bench.path("rows.ndjson")).unwrap(), "{\"five\":5}\n");
    // Tab completes the name of a column.
    shell.wait_for("ktape> ");
    shell.send("SELECT count(*) + 8000000 FROM packets WHERE len_by\t >= 0;\r");
    shell.wait_for("8001001");
    // Ctrl-C at the prompt gives up the line, in a query the query; the shell stays.
    shell.wait_for("ktape> ");
    shell.send("SELECT 'not whole\r\x03");
    shell.line(&format!("{LONG};"));
    shell.wait_for("Ctrl-C ends it");
    shell.send("\x03");
    shell.wait_for("canceled");
    shell.line("SELECT 9000000 + 1;");
    shell.wait_for("9000001");
    // Ctrl-D leaves.
    shell.wait_for("ktape> ");
    shell.send("\x04");
    let (code, text) = shell.end();
    assert_eq!(code, Some(0), "{text}");
    let history = fs::read_to_string(bench.path("state/ktape/history")).unwrap();
    assert!(history.contains("\\d gaps") && history.contains("SELECT 9000000 + 1;"), "{history}");
    // The next session remembers: arrow up.
    let mut shell = Terminal::start(&bench, 100, &["shell", "mkdirs.trace"]);
    shell.wait_for("ktape> ");
    shell.send("\x1b[A\r");
    shell.wait_for("9000001");
    shell.line("\\q");
    assert_eq!(shell.end().0, Some(0));
}

#[test]
fn questions_come_from_standard_input_and_the_worst_answer_is_the_exit_code() {
    let bench = Bench::with(&["mkdirs"]);
    let input = "SELECT 1 AS a; SELECT\n2 AS b;\n\\f csv\nSELECT 'x' AS c";
    let run = bench.analyze_from(&["shell", "mkdirs.trace"], input);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "a\n1\nb\n2\nc\nx\n", ""));
    let input = "SELECT wrong;\nSELECT 1 AS a;\nSELECT ret FROM mkdirs WHERE false;\n\\i none.sql\n\\f parquet\n\\q\nSELECT 2;";
    let run = bench.analyze_from(&["shell", "mkdirs.trace", "-F", "csv"], input);
    assert_eq!((run.code, run.out.as_str()), (2, "a\n1\nret\n"));
    let errors: Vec<&str> = run.err.lines().collect();
    let wrong = [
        "analyze: there is no column 'wrong'",
        "  line 1, column 8:",
        "    SELECT wrong",
        "           ^^^^^",
        "  the query has no FROM: write SELECT ... FROM TABLE",
    ];
    assert_eq!(errors[..5], wrong);
    assert_eq!(errors[5], "analyze: no rows");
    assert_eq!(errors[6], "analyze: cannot read none.sql: No such file or directory (os error 2)");
    assert!(errors[7].starts_with("analyze: 'parquet' is no format for here: use table"), "{errors:?}");
    assert_eq!(errors.len(), 8);
    let run =
        bench.analyze_from(&["shell", "mkdirs.trace", "--param", "x=5", "--param", "y=6"], "SELECT $x AS x;");
    assert_eq!((run.code, run.out.as_str()), (0, "x\n5\n"), "{}", run.err);
    fs::write(bench.path("loop.sql"), "\\i loop.sql\n").unwrap();
    let run = bench.analyze_from(&["shell", "mkdirs.trace"], "\\i loop.sql");
    assert_eq!((run.code, run.err.as_str()), (2, "analyze: loop.sql: files read each other too deeply\n"));
}

#[test]
fn a_table_on_a_terminal_is_cut_with_a_sign_and_elsewhere_whole() {
    let bench = Bench::with(&["mkdirs"]);
    let query = "SELECT 'begin' || repeat('x', 100) || 'end' AS text, 12345678 AS number";
    let table = Terminal::start(&bench, 60, &["sql", "mkdirs.trace", query]);
    let (code, text) = table.end();
    assert_eq!(code, Some(0));
    let wanted = format!("begin{}…  12345678\r\n", "x".repeat(44));
    assert!(text.ends_with(&wanted), "{text:?}");
    let run = bench.analyze(&["sql", "mkdirs.trace", query]);
    assert!(run.out.contains("xend  12345678\n"), "{}", run.out);
    // What is no text is not for a terminal.
    let refused = Terminal::start(&bench, 80, &["sql", "mkdirs.trace", query, "-F", "parquet"]);
    let (code, text) = refused.end();
    assert!(code == Some(2) && text.contains("not for a terminal"), "{text}");
    let (code, text) = Terminal::start(&bench, 200, &["sql", "mkdirs.trace"]).end();
    assert!(code == Some(2) && text.contains("give a trace and a query"), "{text}");
}

#[test]
fn a_long_query_shows_how_far_it_is_and_clears_that_before_the_rows() {
    let bench = Bench::with(&["gaps"]);
    let mut terminal = Terminal::start(&bench, 100, &["sql", "gaps.trace", LONG, "--threads", "1"]);
    terminal.wait_for("of at most 3,003 rows");
    terminal.send("\x03");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(130), "{text}");
    assert!(text.ends_with("\r\x1b[2K"), "{text:?}");
}
