//! Functions of packets -> nodes that find what is behind an IP header.

use schemas::expr::{Expr, Field, Function, Kind, Op, ParseError, Span};
use schemas::wire::headers;

use super::lower::{Lower, Number, Value};
use super::nodes::{Node, NodeId};
use super::types::Ty;

type Result<T> = std::result::Result<T, ParseError>;

impl Lower<'_> {
    /// `ip_proto(skb)`, `ip_upper(skb)` or `ip_state(skb)`, each with a second argument if the IP header is elsewhere.
    pub(super) fn call(
        &mut self,
        field: &Field,
        span: Span,
        function: Function,
        arguments: &[Expr],
    ) -> Result<Value> {
        let name = function.name();
        let (skb, ip) = match arguments {
            [skb] => {
                let at = sum(member(skb, "head"), member(skb, "network_header"));
                (skb, at)
            }
            [skb, ip] => (skb, ip.clone()),
            _ => {
                let message =
                    format!("{name} takes a struct sk_buff * and, if it is elsewhere, the IP header");
                return Err(field.error(span, message));
            }
        };
        // What lies in one piece ends at the tail; pages follow, which are not looked into.
        let end = sum(member(skb, "head"), member(skb, "tail"));
        let nodes = [ip, end, member(skb, "len")].map(|expr| self.address_of(field, &expr));
        let [Some(ip), Some(end), Some(length)] = lift(nodes)? else { return Ok(Value::Missing) };
        let of = self.nodes.add(Node::Headers { ip, end, length });
        let byte = Ty::Int { size: 1, signed: false };
        let (which, ty) = match function {
            Function::IpProto => (headers::PROTO, byte),
            Function::IpUpper => (headers::UPPER, Ty::Pointer(Box::new(byte))),
            Function::IpState => (headers::STATE, byte),
        };
        let node = self.nodes.add(Node::Found { of, which });
        Ok(Value::Number(Number { node, ty, to_user: false, typed: false }))
    }

    /// The value of an address or a number; `None` if it is NULL for sure.
    fn address_of(&mut self, field: &Field, expr: &Expr) -> Result<Option<NodeId>> {
        match self.expr(field, expr)? {
            Value::Null | Value::Missing => Ok(None),
            value => Ok(Some(self.read(field, expr.span, value)?.node)),
        }
    }
}

fn lift<const N: usize>(nodes: [Result<Option<NodeId>>; N]) -> Result<[Option<NodeId>; N]> {
    let mut all = [None; N];
    for (to, node) in all.iter_mut().zip(nodes) {
        *to = node?;
    }
    Ok(all)
}

fn member(of: &Expr, name: &str) -> Expr {
    let (span, name) = (of.span, name.to_owned());
    Expr { kind: Kind::Member { of: Box::new(of.clone()), name, at: span, optional: false }, span }
}

fn sum(left: Expr, right: Expr) -> Expr {
    let span = left.span;
    Expr { kind: Kind::Binary { op: Op::Add, left: Box::new(left), right: Box::new(right) }, span }
}
