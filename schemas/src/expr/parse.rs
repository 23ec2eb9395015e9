//! Tokens -> [`Expr`] by recursive descent, one function for each level of binding.

use super::lex::{Token, tokens};
use super::{
    BUILTINS, Builtin, CastType, Expr, FUNCTIONS, Field, Function, Kind, Op, ParseError, Span, c_integer,
};
use crate::column::Type;

/// Deepest nesting of parentheses and unary operators; a hostile text must not exhaust the stack.
const MAX_DEPTH: u32 = 64;
/// Binary operators by level, loosest first.
const LEVELS: [&[(&str, Op)]; 7] = [
    &[("||", Op::Or)],
    &[("&&", Op::And)],
    &[
        ("==", Op::Equal),
        ("!=", Op::NotEqual),
        ("<=", Op::LessEqual),
        (">=", Op::GreaterEqual),
        ("<", Op::Less),
        (">", Op::Greater),
    ],
    &[("&", Op::BitAnd)],
    &[("<<", Op::ShiftLeft), (">>", Op::ShiftRight)],
    &[("+", Op::Add), ("-", Op::Subtract)],
    &[("*", Op::Multiply)],
];

/// Read `expr [':' type]`, and nothing else.
pub(super) fn field(text: &str) -> Result<Field, ParseError> {
    let mut parser = Parser::new(text, 0)?;
    let field = parser.field()?;
    parser.end("an operator, '->', ':' or the end")?;
    Ok(field)
}

/// Read a predicate, and nothing else.
pub(super) fn predicate(text: &str) -> Result<Field, ParseError> {
    let mut parser = Parser::new(text, 0)?;
    let field = parser.predicate()?;
    parser.end("an operator, '->' or the end")?;
    Ok(field)
}

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, Span)>,
    next: usize,
    depth: u32,
    /// A `:type` cannot be that of a field: in a predicate, and in parentheses.
    types_operands: bool,
}

impl<'a> Parser<'a> {
    /// A parser of `text[from..]`; places are those in the whole text.
    pub(super) fn new(text: &'a str, from: usize) -> Result<Self, ParseError> {
        Ok(Self { text, tokens: tokens(text, from)?, next: 0, depth: 0, types_operands: false })
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        &self.tokens[(self.next + ahead).min(self.tokens.len() - 1)].0
    }

    fn span(&self) -> Span {
        self.tokens[self.next].1
    }

    /// The place of the token before.
    fn last_span(&self) -> Span {
        self.tokens[self.next.saturating_sub(1)].1
    }

    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    pub(super) fn accept(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek_at(0), Token::Sign(s) if *s == sign);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn accept_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek_at(0), Token::Ident(name) if name == word);
        if found {
            self.advance();
        }
        found
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        let message = format!("expected {expected}, found {}", self.peek_at(0).describe());
        ParseError::new(self.text, self.span(), message)
    }

    pub(super) fn expect(&mut self, sign: &str, expected: &str) -> Result<(), ParseError> {
        if self.accept(sign) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    pub(super) fn end(&self, expected: &str) -> Result<(), ParseError> {
        if *self.peek_at(0) == Token::End { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// `[NAME '='] expr [':' type]`; the name is also the field's default one.
    pub(super) fn named_field(&mut self) -> Result<(String, Field), ParseError> {
        let name = match (self.peek_at(0), self.peek_at(1)) {
            (Token::Ident(name), Token::Sign("=")) => Some(name.clone()),
            _ => None,
        };
        if name.is_some() {
            self.advance();
            self.advance();
        }
        let field = self.field()?;
        let name = name.or_else(|| field.expr.default_name()).ok_or_else(|| {
            let message = "this field needs a name: write NAME=expression";
            ParseError::new(self.text, field.expr.span, message)
        })?;
        Ok((name, field))
    }

    /// `expr [':' type]`.
    fn field(&mut self) -> Result<Field, ParseError> {
        let mut expr = self.expr()?;
        let mut ty = None;
        if self.accept(":") {
            let (found, length) = self.column_type()?;
            ty = Some(found);
            if let Some(length) = length {
                expr = sized(expr, length);
            }
        }
        Ok(Field { text: self.text.to_owned(), expr, ty })
    }

    /// An expression that holds or does not hold.
    pub(super) fn predicate(&mut self) -> Result<Field, ParseError> {
        self.types_operands = true;
        let expr = self.expr()?;
        Ok(Field { text: self.text.to_owned(), expr, ty: None })
    }

    /// A type, and how long the value is if it is bytes: `bytes[64; count]`.
    fn column_type(&mut self) -> Result<(Type, Option<Expr>), ParseError> {
        let from = self.span();
        let Token::Ident(_) = self.peek_at(0) else {
            return Err(self.unexpected("a type such as u32, string or ip"));
        };
        self.advance();
        let mut length = None;
        for (open, close) in [("[", "]"), ("(", ")")] {
            if self.accept(open) {
                while !self.accept(close) {
                    if open == "[" && self.accept(";") {
                        let before = self.last_span().start;
                        length = Some((before, self.expr()?));
                        self.expect("]", "an operator or ']'")?;
                        break;
                    }
                    if *self.peek_at(0) == Token::End {
                        return Err(self.unexpected(&format!("'{close}'")));
                    }
                    self.advance();
                }
            }
        }
        let span = from.to(self.last_span());
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        let text = match (self.text[span.start..span.end].split_once("kernel "), &length) {
            (_, Some((before, _))) => squeezed(&self.text[span.start..*before]) + "]",
            (Some((before, name)), _) => format!("{}kernel {}", squeezed(before), squeezed(name)),
            _ => squeezed(&self.text[span.start..span.end]),
        };
        let ty: Type = text
            .parse()
            .map_err(|error: crate::column::TypeError| ParseError::new(self.text, span, error.to_string()))?;
        if length.is_some() && ty.most_bytes().is_none() {
            let message = format!(
                "{ty} has no length of its own: bytes[N; LENGTH], ubytes[N; LENGTH] and argv[N; LENGTH] have"
            );
            return Err(ParseError::new(self.text, span, message));
        }
        Ok((ty, length.map(|(_, length)| length)))
    }

    pub(super) fn expr(&mut self) -> Result<Expr, ParseError> {
        self.binary(0)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, ParseError> {
        let Some(ops) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(&(_, op)) = ops.iter().find(|(sign, _)| self.accept(sign)) {
            let right = self.binary(level + 1)?;
            let span = left.span.to(right.span);
            left = Expr { kind: Kind::Binary { op, left: Box::new(left), right: Box::new(right) }, span };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} operators are nested here");
            return Err(ParseError::new(self.text, self.span(), message));
        }
        let from = self.span();
        let expr = if self.accept("*") {
            let of = self.unary()?;
            Expr { span: from.to(of.span), kind: Kind::Deref(Box::new(of)) }
        } else if self.accept("&") {
            let of = self.unary()?;
            Expr { span: from.to(of.span), kind: Kind::AddressOf(Box::new(of)) }
        } else if self.accept("!") {
            let of = self.unary()?;
            Expr { span: from.to(of.span), kind: Kind::Not(Box::new(of)) }
        } else if self.accept("-") {
            let of = self.unary()?;
            Expr { span: from.to(of.span), kind: Kind::Negate(Box::new(of)) }
        } else if let Some(to) = self.cast()? {
            let of = self.unary()?;
            Expr { span: from.to(of.span), kind: Kind::Cast { to, of: Box::new(of) } }
        } else {
            self.operand()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// `'(' type '*'* ')'`, if that is what comes: words, then stars, then the parenthesis. Without stars it is a cast if
    /// what follows could not follow a name in parentheses, or if the words are an integer of C.
    fn cast(&mut self) -> Result<Option<CastType>, ParseError> {
        if *self.peek_at(0) != Token::Sign("(") {
            return Ok(None);
        }
        let mut words: Vec<String> = Vec::new();
        while let Token::Ident(word) = self.peek_at(1 + words.len()) {
            words.push(word.clone());
        }
        let stars = (0..).take_while(|n| *self.peek_at(1 + words.len() + n) == Token::Sign("*")).count();
        let closed = *self.peek_at(1 + words.len() + stars) == Token::Sign(")");
        let tag = words.first().and_then(|w| ["struct", "union", "enum"].into_iter().find(|tag| tag == w));
        if words.is_empty() || !closed {
            return Ok(None);
        }
        if stars == 0 && tag.is_none() {
            let is_cast = match self.peek_at(2 + words.len()) {
                Token::Ident(_)
                | Token::Dollar(_)
                | Token::Int(_)
                | Token::Text(_)
                | Token::Sign("(" | "!") => true,
                Token::Sign("-" | "*" | "&") => c_integer(&words.join(" ")).is_some(),
                Token::Sign(_) | Token::End => false,
            };
            if !is_cast {
                return Ok(None);
            }
        }
        let from = self.span();
        for _ in 0..words.len() + stars + 2 {
            self.advance();
        }
        let span = from.to(self.last_span());
        if stars == 0 && matches!(tag, Some("struct" | "union")) {
            let message = "a cast to a struct must be one to a pointer: write (struct X *)";
            return Err(ParseError::new(self.text, span, message));
        }
        let name = words[usize::from(tag.is_some())..].join(" ");
        if name.is_empty() {
            return Err(ParseError::new(self.text, span, "expected the name of a type in this cast"));
        }
        Ok(Some(CastType { tag, name, stars: stars as u8, span }))
    }

    /// A postfix expression and the type that it is taken for.
    fn operand(&mut self) -> Result<Expr, ParseError> {
        let of = self.postfix()?;
        let before = self.next;
        if !self.accept(":") {
            return Ok(of);
        }
        let (ty, _) = self.column_type()?;
        let ends_field = match self.peek_at(0) {
            Token::Sign(sign) => matches!(*sign, "," | "}"),
            Token::Ident(_) | Token::End => true,
            _ => false,
        };
        if ends_field && !self.types_operands {
            self.next = before;
            return Ok(of);
        }
        let span = of.span.to(self.last_span());
        Ok(Expr { kind: Kind::Typed { of: Box::new(of), ty }, span })
    }

    /// An expression up to the parenthesis that closes it.
    fn enclosed(&mut self, expected: &str) -> Result<Expr, ParseError> {
        let outside = std::mem::replace(&mut self.types_operands, true);
        let of = self.expr()?;
        self.types_operands = outside;
        self.expect(")", expected)?;
        Ok(of)
    }

    fn postfix(&mut self) -> Result<Expr, ParseError> {
        let mut expr = self.base()?;
        loop {
            if self.accept("->") || self.accept(".") {
                let at = self.span();
                let Token::Ident(name) = self.peek_at(0).clone() else {
                    return Err(self.unexpected("the name of a member"));
                };
                self.advance();
                let optional = self.accept("?");
                let span = expr.span.to(self.last_span());
                expr = Expr { kind: Kind::Member { of: Box::new(expr), name, at, optional }, span };
            } else if self.accept("[") {
                let Token::Int(index) = *self.peek_at(0) else {
                    return Err(self.unexpected("a number"));
                };
                let index = u32::try_from(index)
                    .map_err(|_| ParseError::new(self.text, self.span(), "this index is too large"))?;
                self.advance();
                self.expect("]", "']'")?;
                let span = expr.span.to(self.last_span());
                expr = Expr { kind: Kind::Index { of: Box::new(expr), index }, span };
            } else {
                return Ok(expr);
            }
        }
    }

    fn base(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        let kind = match self.peek_at(0).clone() {
            Token::Ident(word) => match word.as_str() {
                "retval" => Kind::Retval,
                "dur" => Kind::Duration,
                "NULL" => Kind::Null,
                "entry" | "err" if *self.peek_at(1) == Token::Sign("(") => {
                    self.advance();
                    self.advance();
                    let of = Box::new(self.enclosed("')'")?);
                    let kind = if word == "entry" { Kind::Entry(of) } else { Kind::Error(of) };
                    return Ok(Expr { kind, span: span.to(self.last_span()) });
                }
                name if *self.peek_at(1) == Token::Sign("(") => return self.call(name, span),
                _ => Kind::Name(word),
            },
            Token::Dollar(name) if name == "retval" => Kind::Retval,
            Token::Dollar(name) if name == "dur" => Kind::Duration,
            Token::Dollar(name) => match Builtin::by_name(&name) {
                Some(builtin) => Kind::Builtin(builtin),
                None => {
                    let known: Vec<String> = BUILTINS.iter().map(|(n, _)| format!("${n}")).collect();
                    let message = format!(
                        "there is no ${name}: use $arg1 .. $arg12, $retval, $dur, {}",
                        known.join(", ")
                    );
                    return Err(ParseError::new(self.text, span, message));
                }
            },
            Token::Int(n) => Kind::Int(n),
            Token::Text(text) => Kind::Text(text),
            Token::Sign("(") => {
                self.advance();
                let inner = self.enclosed("an operator or ')'")?;
                return Ok(Expr { kind: inner.kind, span: span.to(self.last_span()) });
            }
            Token::Sign(_) | Token::End => {
                return Err(self.unexpected("a name, a number, $task, retval or '('"));
            }
        };
        self.advance();
        Ok(Expr { kind, span })
    }

    /// `FUNCTION '(' expr (',' expr)* ')'`.
    fn call(&mut self, name: &str, span: Span) -> Result<Expr, ParseError> {
        let Some(function) = Function::by_name(name) else {
            let known: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
            let message = format!("there is no function {name}: there are entry, {}", known.join(", "));
            return Err(ParseError::new(self.text, span, message));
        };
        self.advance();
        self.advance();
        let mut arguments = vec![self.expr()?];
        while self.accept(",") {
            arguments.push(self.expr()?);
        }
        self.expect(")", "',' or ')'")?;
        Ok(Expr { kind: Kind::Call { function, arguments }, span: span.to(self.last_span()) })
    }
}

/// `of` with its length. What is read at the entry has the length that it has there.
fn sized(of: Expr, length: Expr) -> Expr {
    let span = of.span;
    let kind = match of.kind {
        Kind::Entry(of) => Kind::Entry(Box::new(sized(*of, length))),
        _ => Kind::Sized { of: Box::new(of), length: Box::new(length) },
    };
    Expr { kind, span }
}
