//! `[NAME=]KIND:TARGET{ fields } if predicate` -> [`Probe`]; `KIND:TARGET` -> [`Target`].

use std::fmt;

use super::lex::ident_len;
use super::parse::Parser;
use super::{Field, ParseError, Sampling, Span, near};

/// How to observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// `fn`: at return of a kernel function (memory and result are then known), by whatever this kernel offers.
    Function,
    /// `kprobe`: at entry, by kprobe.
    Kprobe,
    /// `kretprobe`: at return, by kretprobe.
    Kretprobe,
    /// `fentry`: at entry, by a BPF trampoline.
    Fentry,
    /// `fexit`: at return, by a BPF trampoline.
    Fexit,
    /// `tp`: a tracepoint, by whatever this kernel offers.
    Tracepoint,
    /// `raw_tp`: a tracepoint, as raw tracepoint.
    RawTracepoint,
    /// `syscall`: at return of a system call.
    Syscall,
    /// `uprobe`: at entry of a function of a program or library.
    Uprobe,
    /// `uretprobe`: at its return.
    Uretprobe,
    /// `usdt`: at a probe that a program or library has built in (`<sys/sdt.h>`).
    Usdt,
    /// `profile`: a sample of each processor, at a rate.
    Profile,
    /// `software`: a sample each so many events that the kernel counts.
    Software,
    /// `hardware`: the same, that the processor counts.
    Hardware,
}

/// Names of the kinds.
const KINDS: [(&str, ProbeKind); 14] = [
    ("fn", ProbeKind::Function),
    ("kprobe", ProbeKind::Kprobe),
    ("kretprobe", ProbeKind::Kretprobe),
    ("fentry", ProbeKind::Fentry),
    ("fexit", ProbeKind::Fexit),
    ("tp", ProbeKind::Tracepoint),
    ("raw_tp", ProbeKind::RawTracepoint),
    ("syscall", ProbeKind::Syscall),
    ("uprobe", ProbeKind::Uprobe),
    ("uretprobe", ProbeKind::Uretprobe),
    ("usdt", ProbeKind::Usdt),
    ("profile", ProbeKind::Profile),
    ("software", ProbeKind::Software),
    ("hardware", ProbeKind::Hardware),
];

/// Characters that a pattern has beside those of names.
const PATTERN: &str = "*?[]!-";

/// `KIND:TARGET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How to observe.
    pub kind: ProbeKind,
    /// What: a function, `category:name`, a system call, `PATH:SYMBOL`, `PATH:PROVIDER:NAME`, `hz:99`,
    /// `cache-misses:1000`.
    pub name: String,
}

/// A probe as written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the event: the given one, or one made from the target.
    pub name: String,
    /// What is observed.
    pub target: Target,
    /// The columns; `None` without braces, which means everything that the target offers.
    pub fields: Option<Vec<(String, Field)>>,
    /// The predicate after `if`.
    pub predicate: Option<Field>,
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(_, kind)| kind == self).map_or("?", |(name, _)| *name);
        f.write_str(name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl ProbeKind {
    /// Whether it samples what a processor does.
    pub fn samples(self) -> bool {
        matches!(self, Self::Profile | Self::Software | Self::Hardware)
    }
}

impl Target {
    /// Read `KIND:TARGET`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let error = |start, end, message: String| Err(ParseError::new(text, Span { start, end }, message));
        let Some((word, name)) = text.split_once(':') else {
            let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            return error(
                0,
                text.len(),
                format!("expected KIND:TARGET, with KIND one of {}", known.join(", ")),
            );
        };
        let Some(&(_, kind)) = KINDS.iter().find(|(name, _)| *name == word) else {
            let names = || KINDS.iter().map(|(name, _)| *name);
            let hint = match near(word, names()).first() {
                Some(name) => format!("did you mean {name}?"),
                None => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
            };
            return error(0, word.len(), format!("there is no probe kind '{word}': {hint}"));
        };
        let (from, end) = (word.len() + 1, text.len());
        // A pattern stands for several of a kind that the kernel can list.
        let of_pattern = match kind {
            ProbeKind::Syscall | ProbeKind::RawTracepoint => "",
            _ => PATTERN,
        };
        let valid = |name: &str| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c) || of_pattern.contains(c);
            !name.is_empty() && name.chars().all(is_part)
        };
        match kind {
            ProbeKind::Tracepoint => match name.split_once(':') {
                Some((category, event))
                    if valid(event)
                        && category.chars().all(|c| {
                            c.is_ascii_alphanumeric() || "_-".contains(c) || PATTERN.contains(c)
                        }) => {}
                _ => {
                    return error(
                        from,
                        end,
                        "expected a tracepoint: tp:CATEGORY:NAME, for instance tp:sched:sched_switch"
                            .to_owned(),
                    );
                }
            },
            ProbeKind::Uprobe | ProbeKind::Uretprobe => match name.rsplit_once(':') {
                Some((path, symbol)) if !path.is_empty() && !symbol.is_empty() => {}
                _ => {
                    return error(
                        from,
                        end,
                        format!("expected a program or library and a function: {word}:PATH:SYMBOL"),
                    );
                }
            },
            ProbeKind::Usdt => match name.rsplitn(3, ':').collect::<Vec<_>>().as_slice() {
                [probe, provider, path] if ![probe, provider, path].iter().any(|part| part.is_empty()) => {}
                _ => {
                    return error(
                        from,
                        end,
                        "expected a program or library and a probe of it: usdt:PATH:PROVIDER:NAME; 'recorder list \
                         usdt:PATH' shows them"
                            .to_owned(),
                    );
                }
            },
            ProbeKind::Profile | ProbeKind::Software | ProbeKind::Hardware => {
                if let Some(Err(message)) = Sampling::parse(kind, name) {
                    return error(from, end, message);
                }
            }
            ProbeKind::Function
            | ProbeKind::Kprobe
            | ProbeKind::Kretprobe
            | ProbeKind::Fentry
            | ProbeKind::Fexit
            | ProbeKind::RawTracepoint
            | ProbeKind::Syscall => {
                if !valid(name) {
                    return error(from, end, format!("expected a name after '{word}:'"));
                }
            }
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// Whether it may stand for several functions or tracepoints.
    pub fn is_pattern(&self) -> bool {
        let may_be = !matches!(self.kind, ProbeKind::Uprobe | ProbeKind::Uretprobe | ProbeKind::Usdt)
            && !self.kind.samples();
        may_be && self.name.contains(['*', '?', '['])
    }

    /// The last part of the target, or what is sampled, as a name for an event or a source.
    pub fn default_name(&self) -> String {
        let last = match self.kind {
            ProbeKind::Profile => "profile",
            ProbeKind::Software | ProbeKind::Hardware => self.name.split(':').next().unwrap_or_default(),
            _ => self.name.rsplit(':').next().unwrap_or_default(),
        };
        let mut name: String =
            last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if self.is_pattern() {
            name = name.trim_matches('_').to_owned();
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            name.insert(0, '_');
        }
        name
    }
}

impl Probe {
    /// Read `[NAME=]KIND:TARGET{ fields } if predicate`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let start = text.len() - text.trim_start().len();
        let ident = ident_len(&text[start..]);
        let name = (ident > 0 && text[start + ident..].starts_with('=')).then(|| &text[start..start + ident]);
        let head = if name.is_some() { start + ident + 1 } else { start };
        let head_end =
            text[head..].find(|c: char| c == '{' || c.is_whitespace()).map_or(text.len(), |i| head + i);
        let target = Target::parse(&text[head..head_end]).map_err(|error| error.within(text, head))?;

        let mut parser = Parser::new(text, head_end)?;
        let fields = if parser.accept("{") { Some(fields(&mut parser)?) } else { None };
        let predicate = if parser.accept_word("if") { Some(parser.predicate()?) } else { None };
        parser.end(match (&fields, &predicate) {
            (_, Some(_)) => "an operator or the end",
            (Some(_), None) => "'if' or the end",
            (None, None) => "'{', 'if' or the end",
        })?;
        Ok(Self {
            name: name.map_or_else(|| target.default_name(), str::to_owned),
            target,
            fields,
            predicate,
        })
    }
}

fn fields(parser: &mut Parser<'_>) -> Result<Vec<(String, Field)>, ParseError> {
    let mut fields = Vec::new();
    while !parser.accept("}") {
        if !fields.is_empty() {
            parser.expect(",", "',' or '}'")?;
            if parser.accept("}") {
                break;
            }
        }
        fields.push(parser.named_field()?);
    }
    Ok(fields)
}
