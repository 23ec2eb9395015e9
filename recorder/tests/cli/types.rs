//! Types on a real kernel: registers of user functions, bytes, code.

use std::fs;
use std::process::{Command, Stdio};

use crate::sandbox::{Sandbox, Table, record};

/// A program whose numbers are known: `minus` is called with 1 to 10, and with what leaves garbage above its 32 bits.
const PROGRAM: &str = "
__attribute__((noinline)) int minus(int i) { __asm__ volatile(\"\"); return -i; }
__attribute__((noinline, naked)) int dirty(void) { __asm__(\"movabs $0x12345678fffffffe, %rax; ret\"); }
int main(void) {
    int sum = 0;
    for (int i = 1; i <= 10; i++) sum += minus(i);
    for (int i = 0; i < 3; i++) sum += dirty();
    return sum != -61;
}";

#[test]
fn a_user_functions_register_has_the_width_that_is_asked_for() {
    let sandbox = Sandbox::for_recording();
    let program = sandbox.path("f").display().to_string();
    let mut cc = Command::new("cc")
        .args(["-O1", "-x", "c", "-", "-o", &program])
        .stdin(Stdio::piped())
        .spawn()
        .expect("cc, which links this test too");
    std::io::Write::write_all(&mut cc.stdin.take().unwrap(), PROGRAM.as_bytes()).unwrap();
    assert!(cc.wait().unwrap().success());
    let probes = [
        format!("named=uretprobe:{program}:minus{{ retval, r32=retval:s32 }} if r32 < 0"),
        format!("casts=uretprobe:{program}:minus{{ retval:s32 }} if (int)retval <= -5"),
        format!("typed=uretprobe:{program}:minus{{ i=$arg1:s32, retval:s32 }} if retval:s32 == -7 && i == 7"),
        format!("shown=uretprobe:{program}:minus{{ retval:s32 }} if retval > -3"),
        format!("above=uretprobe:{program}:dirty{{ retval:s32 }} if retval == -2"),
        format!("sum=uprobe:{program}:minus{{ n=-(int)$arg1, m=$arg1:u8 - (u64)20 }} if -(int)$arg1 < 0:s8"),
    ];
    let probes: Vec<&str> = probes.iter().map(String::as_str).collect();
    let args = [&["record"], &probes[..], &["-o", "t", "--", &program]].concat();
    sandbox.expect(0, &args);
    let returned = |event: &str, column: &str| {
        let numbers = Table::read(&sandbox.path("t"), event).integers(column);
        numbers.into_iter().map(Option::unwrap).collect::<Vec<i128>>()
    };
    assert_eq!(returned("named", "r32"), (1..=10).map(|i| -i).collect::<Vec<_>>());
    assert_eq!(returned("casts", "retval"), [-5, -6, -7, -8, -9, -10]);
    assert_eq!((returned("typed", "retval"), returned("typed", "i")), (vec![-7], vec![7]));
    assert_eq!(returned("shown", "retval"), [-1, -2]);
    assert_eq!(returned("above", "retval"), [-2; 3]);
    assert_eq!(returned("sum", "n"), (1..=10).map(|i| -i).collect::<Vec<_>>());
    let text =
        sandbox.expect(2, &["record", &format!("uretprobe:{program}:minus if retval < 0"), "-o", "no"]);
    assert!(
        text.err.contains("say it, as in (int)retval or (u64)retval, in a condition also retval:s32"),
        "{}",
        text.err
    );
}

/// Sends ten datagrams to itself over loopback, and sleeps after each.
const DATAGRAMS: &str = "python3 -c 'import socket, time
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind((\"127.0.0.1\", 0))
for i in range(10):
    a.sendto(b\"x\", a.getsockname())
    a.recv(9)
    time.sleep(0.001)'";

#[test]
fn bytes_are_bytes_and_code_has_a_name() {
    let sandbox = Sandbox::for_recording();
    let probes = [
        "d=tp:net:net_dev_queue{ b=skb->dev->broadcast, n=skb->dev->name, m=skb->dev->broadcast:mac }",
        "c=tp:timer:hrtimer_start{ function }",
    ];
    record(&sandbox, 0, &probes, DATAGRAMS);
    let trace = sandbox.path("t");
    let queued = Table::read(&trace, "d");
    let of_lo: Vec<usize> = (0..queued.len()).filter(|row| queued.text("n")[*row] == "lo").collect();
    assert!(of_lo.len() >= 10, "{}", queued.len());
    // The truth is in sysfs: the address, in a field of 32 bytes.
    let broadcast = fs::read_to_string("/sys/class/net/lo/broadcast").unwrap();
    let address: String = broadcast.trim().split(':').collect();
    for row in of_lo {
        assert_eq!(queued.text("m")[row], broadcast.trim());
        assert_eq!(queued.text("b")[row], format!("{address:0<64}"));
    }
    // The kernel's own list says what is at an address.
    let names = Table::read(&trace, "symbols");
    let mut list: Vec<(u64, String)> = fs::read_to_string("/proc/kallsyms")
        .unwrap()
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((u64::from_str_radix(words.next()?, 16).ok()?, words.nth(1)?.to_owned()))
        })
        .collect();
    list.sort();
    let functions = Table::read(&trace, "c");
    let mut sleeps = 0;
    for (row, function) in functions.integers("function").into_iter().enumerate() {
        let function = function.unwrap();
        let row_of_name = names.integers("addr").iter().position(|addr| *addr == Some(function)).unwrap();
        let name = &names.text("name")[row_of_name];
        assert!(list.iter().any(|(start, known)| i128::from(*start) == function && known == name), "{name}");
        sleeps += usize::from(name == "hrtimer_wakeup" && functions.text("comm")[row] == "python3");
    }
    assert!(sleeps > 0, "what ends a sleep is hrtimer_wakeup");
}
