//! `/proc/kallsyms` -> which functions there are, and which symbol an address belongs to.

use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;

use anyhow::{Context, Result, bail};

const KALLSYMS: &str = "/proc/kallsyms";
/// A part of kallsyms in which, on every kernel, there are symbols with addresses: the first ones have offsets.
const START_BYTES: u64 = 64 << 10;
/// Who sees addresses: 2 means nobody.
const KPTR_RESTRICT: &str = "/proc/sys/kernel/kptr_restrict";
/// A second symbol per function on kernels with call thunks; it is padding, not code.
const PADDING_PREFIX: &str = "__pfx_";

/// One line of kallsyms.
struct Line<'a> {
    address: u64,
    kind: u8,
    name: &'a str,
    module: Option<&'a str>,
}

/// The running kernel's kallsyms, empty if it cannot be read.
pub fn text() -> String {
    fs::read_to_string(KALLSYMS).unwrap_or_default()
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = *words.next()?.as_bytes().first()?;
        let name = words.next()?;
        let module = words.next().map(|m| m.trim_matches(['[', ']']));
        (!name.starts_with(PADDING_PREFIX)).then_some(Line { address, kind, name, module })
    })
}

fn is_text(kind: u8) -> bool {
    matches!(kind.to_ascii_lowercase(), b't' | b'w')
}

/// How many functions have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionSymbol {
    /// None.
    Missing,
    /// One: a probe can be attached to it.
    Unique,
    /// Several: the kernel refuses the name as not unique.
    Many,
}

/// The names of all functions.
#[derive(Debug, Default)]
pub struct FunctionNames {
    /// Sorted.
    names: Vec<String>,
}

impl FunctionNames {
    /// The running kernel's.
    pub fn load() -> Result<Self> {
        let text = fs::read_to_string(KALLSYMS).with_context(|| format!("cannot read {KALLSYMS}"))?;
        Ok(Self::parse(&text))
    }

    /// From the text of kallsyms.
    pub fn parse(text: &str) -> Self {
        let mut names: Vec<String> =
            lines(text).filter(|l| is_text(l.kind)).map(|l| l.name.to_owned()).collect();
        names.sort_unstable();
        Self { names }
    }

    /// Whether a function of that name exists, and once.
    pub fn get(&self, name: &str) -> FunctionSymbol {
        let start = self.names.partition_point(|n| n.as_str() < name);
        match self.names[start..].iter().take_while(|n| *n == name).count() {
            0 => FunctionSymbol::Missing,
            1 => FunctionSymbol::Unique,
            _ => FunctionSymbol::Many,
        }
    }

    /// All names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// Where kallsyms has a variable of which each CPU has its own: how far behind the first of them.
pub fn per_cpu(text: &str, name: &str) -> Option<i32> {
    // Such variables have no place in memory of their own there, until Linux 6.15 on x86_64.
    let of = |name| lines(text).find(|line| line.name == name && line.kind.eq_ignore_ascii_case(&b'a'));
    let place = of(name)?.address.checked_sub(of("__per_cpu_start")?.address)?;
    i32::try_from(place).ok().filter(|place| *place != 0)
}

/// What an address of the kernel belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Function or, where kallsyms has it, variable.
    pub name: &'a str,
    /// Bytes behind its start.
    pub offset: u64,
    /// Module it is in; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

/// Why there are no addresses, and what helps.
fn hidden() -> String {
    let is_for_nobody = fs::read_to_string(KPTR_RESTRICT).is_ok_and(|value| value.trim() == "2");
    let remedy = match is_for_nobody {
        true => "that is so for everybody: sysctl kernel.kptr_restrict=1",
        false => "that needs CAP_SYSLOG, which root has ('recorder doctor' tells how to get it)",
    };
    format!("{KALLSYMS} shows no addresses; {remedy}")
}

/// All symbols of the running kernel by address.
#[derive(Debug, Default)]
pub struct KernelSymbols {
    /// Address, start of the name in `text`, its length, module number + 1 or 0; sorted by address.
    entries: Vec<(u64, u32, u16, u16)>,
    text: String,
    modules: Vec<String>,
}

impl KernelSymbols {
    /// Open the running kernel's, to be [read](Self::read) later: the rights of the one who opens count.
    pub fn open() -> Result<File> {
        File::open(KALLSYMS).with_context(|| format!("cannot read {KALLSYMS}"))
    }

    /// From the open kallsyms, which can be read once. Fails if it shows no addresses.
    pub fn read(mut kallsyms: &File) -> Result<Self> {
        let mut text = String::new();
        kallsyms.read_to_string(&mut text).with_context(|| format!("cannot read {KALLSYMS}"))?;
        let symbols = Self::parse(&text);
        if symbols.is_empty() {
            bail!(hidden());
        }
        Ok(symbols)
    }

    /// Fails if kallsyms shows this thread no addresses.
    pub fn check() -> Result<()> {
        let mut start = Vec::new();
        let read = Self::open()?.take(START_BYTES).read_to_end(&mut start);
        read.with_context(|| format!("cannot read {KALLSYMS}"))?;
        let start = String::from_utf8_lossy(&start);
        if lines(&start).all(|line| line.address == 0) {
            bail!(hidden());
        }
        Ok(())
    }

    /// From the text of kallsyms; symbols with a hidden (zero) address are left out.
    pub fn parse(text: &str) -> Self {
        let mut symbols = Self::default();
        for Line { address, kind: _, name, module } in lines(text).filter(|line| line.address != 0) {
            let module = match module {
                Some(module) => {
                    let known = symbols.modules.iter().rposition(|m| m == module);
                    let index = known.unwrap_or_else(|| {
                        symbols.modules.push(module.to_owned());
                        symbols.modules.len() - 1
                    });
                    index as u16 + 1
                }
                None => 0,
            };
            symbols.entries.push((address, symbols.text.len() as u32, name.len() as u16, module));
            symbols.text.push_str(name);
        }
        symbols.entries.sort_by_key(|entry| entry.0);
        symbols
    }

    /// The same in the form of kallsyms, whatever kind each symbol was.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.text.len() + self.entries.len() * 24);
        for (address, at, len, module) in &self.entries {
            let name = &self.text[*at as usize..*at as usize + usize::from(*len)];
            // Writing to a String cannot fail.
            let _ = match module.checked_sub(1).map(|i| &self.modules[usize::from(i)]) {
                Some(module) => writeln!(text, "{address:016x} t {name}\t[{module}]"),
                None => writeln!(text, "{address:016x} t {name}"),
            };
        }
        text
    }

    /// The symbol that starts at or last before an address. Of several at one address the first in kallsyms.
    pub fn lookup(&self, address: u64) -> Option<Symbol<'_>> {
        let end = self.entries.partition_point(|entry| entry.0 <= address);
        let start = self.entries.get(end.checked_sub(1)?)?.0;
        let first = self.entries[..end].partition_point(|entry| entry.0 < start);
        let (_, at, len, module) = self.entries[first];
        let name = &self.text[at as usize..at as usize + usize::from(len)];
        let module = module.checked_sub(1).map(|i| self.modules[usize::from(i)].as_str());
        Some(Symbol { name, offset: address - start, module })
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ffffffff81000000 T _stext\nffffffff81000000 T _text\nffffffff81000ff0 t __pfx_f\n\
                        ffffffff81001000 t f\nffffffff81002000 t f\nffffffff81003000 D data\n\
                        ffffffffc0000000 t g\t[mod]\n0000000000000000 A hidden\n";

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let symbols = KernelSymbols::parse(TEXT);
        let text =
            |address| symbols.lookup(address).map(|s| format!("{}+{} {:?}", s.name, s.offset, s.module));
        assert_eq!(text(0xffff_ffff_8100_0004).as_deref(), Some("_stext+4 None"));
        assert_eq!(text(0xffff_ffff_8100_0ff8).as_deref(), Some("_stext+4088 None"), "padding is no symbol");
        assert_eq!(text(0xffff_ffff_c000_0010).as_deref(), Some("g+16 Some(\"mod\")"));
        assert_eq!(text(0x1000), None);
    }

    #[test]
    fn a_function_name_can_be_missing_unique_or_shared() {
        let names = FunctionNames::parse(TEXT);
        assert_eq!(names.get("g"), FunctionSymbol::Unique);
        assert_eq!(names.get("f"), FunctionSymbol::Many);
        assert_eq!(names.get("data"), FunctionSymbol::Missing);
        assert_eq!(names.get("__pfx_f"), FunctionSymbol::Missing);
    }

    #[test]
    fn symbols_in_the_form_of_kallsyms_are_read_as_the_same() {
        let symbols = KernelSymbols::parse(TEXT);
        let again = KernelSymbols::parse(&symbols.to_text());
        assert_eq!(again.len(), symbols.len());
        for address in [0, 0xffffffff81000000, 0xffffffff81001004, 0xffffffff81003001, 0xffffffffc0000010] {
            assert_eq!(again.lookup(address), symbols.lookup(address), "{address:#x}");
        }
    }
}
