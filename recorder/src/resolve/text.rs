//! Comparisons with text -> formulas: names in memory word by word, enums by the names of their values.

use schemas::expr::{Expr, Field, ParseError, Span};
use schemas::text::unescape;
use schemas::wire::cmp;

use super::lower::{Lower, Memory, Value};
use super::nodes::{Compare, Formula, Node, Right};
use super::types::Shape;

type Result<T> = std::result::Result<T, ParseError>;

impl Lower<'_> {
    /// A comparison with text: of a name in memory word by word, of an enum by its names.
    pub(super) fn text_comparison(
        &mut self,
        field: &Field,
        op: u8,
        other: &Expr,
        text: &str,
        span: Span,
    ) -> Result<Formula> {
        let negate = match op {
            cmp::EQ => false,
            cmp::NE => true,
            _ => return Err(field.error(span, "text can be compared with == and != only")),
        };
        let equal = match self.expr(field, other)? {
            Value::Null | Value::Missing => return Ok(Formula::Never),
            Value::Text(value) if value == text => Formula::Always,
            Value::Text(_) => Formula::Never,
            Value::Comm => self.comm_is(field, text)?,
            value => self.text_in_memory(field, other.span, value, text)?,
        };
        Ok(if negate { equal.negate() } else { equal })
    }

    /// Whether the name of the current thread is `text`.
    pub(super) fn comm_is(&mut self, field: &Field, text: &str) -> Result<Formula> {
        let comm = Field::parse("$task->comm")?;
        let value = self.field(&comm)?;
        self.text_in_memory(field, field.expr.span, value, text)
    }

    fn text_in_memory(&mut self, field: &Field, span: Span, value: Value, text: &str) -> Result<Formula> {
        let btf = &self.kernel.btf;
        let wanted = unescape(text);
        let memory = match value {
            Value::Memory(memory) => match memory.ty.shape(btf) {
                Shape::Array { item, count } if item.is_byte(btf) => {
                    if wanted.len() >= count as usize {
                        return Ok(Formula::Never);
                    }
                    memory
                }
                Shape::Chars(_) => memory,
                Shape::Int { .. } => return self.enumerator_is(field, span, Value::Memory(memory), text),
                _ => self.pointee(field, span, Value::Memory(memory), 0)?,
            },
            Value::Number(number) => match number.ty.shape(btf) {
                Shape::Int { .. } => return self.enumerator_is(field, span, Value::Number(number), text),
                _ => self.pointee(field, span, Value::Number(number), 0)?,
            },
            _ => return Err(field.error(span, "this cannot be compared with text")),
        };
        // The closing NUL is compared too, so that "ng" is not "nginx".
        let bytes: Vec<u8> = wanted.iter().copied().chain([0]).collect();
        let mut words = Vec::new();
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let size = chunk.len().next_power_of_two();
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let off = self.offset(field, span, memory.off + 8 * i as i64)?;
            let Memory { base, mut place, .. } = memory;
            place.typed = false;
            let left = self.nodes.add(Node::Load { base, off, size: size as u8, place });
            let mask = if chunk.len() == size { u64::MAX } else { (1 << (8 * chunk.len())) - 1 };
            let right = Right::Constant(u64::from_le_bytes(word));
            words.push(Formula::Compare(Compare { left, mask, op: cmp::EQ, right }));
        }
        Ok(Formula::all(words))
    }

    fn enumerator_is(&mut self, field: &Field, span: Span, value: Value, text: &str) -> Result<Formula> {
        let number = self.read(field, span, value)?;
        let btf = &self.kernel.btf;
        let names = number.ty.enumerators(btf);
        match names.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => {
                let right = Right::Constant(*value as u64);
                Ok(Formula::Compare(Compare { left: number.node, mask: u64::MAX, op: cmp::EQ, right }))
            }
            None => {
                let message = format!("{} has no value named {text}", number.ty.c_name(btf));
                Err(field.error(span, message))
            }
        }
    }
}
