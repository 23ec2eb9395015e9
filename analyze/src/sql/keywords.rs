//! Words of SQL that stand where only a name can stand -> names, so that a column `end` or `interval` needs no quotes.

use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Words after which something must stand that is neither of [`ends_name`]: else they are names.
const NEEDING: &[Keyword] = &[
    Keyword::ANY,
    Keyword::CUBE,
    Keyword::EXISTS,
    Keyword::INTERVAL,
    Keyword::ROLLUP,
    Keyword::SETTINGS,
    Keyword::SOME,
    Keyword::STRUCT,
    Keyword::TOP,
    Keyword::TRIM,
];

/// Make names of the words among `tokens` that can be nothing else.
pub fn make_names(tokens: &mut [TokenWithSpan]) {
    let is_text = |i: &usize| !matches!(tokens[*i].token, Token::Whitespace(_));
    let seen: Vec<usize> = (0..tokens.len()).filter(is_text).collect();
    for (n, &i) in seen.iter().enumerate() {
        let before = n.checked_sub(1).map(|n| &tokens[seen[n]].token);
        let after = seen.get(n + 1).map(|&i| &tokens[i].token);
        let Token::Word(word) = &tokens[i].token else { continue };
        let is_name = word.quote_style.is_none()
            && word.keyword != Keyword::FROM
            && ends_name(after)
            && (NEEDING.contains(&word.keyword)
                // sqlparser takes the comma before such a word for one too many.
                || before == Some(&Token::Comma) && RESERVED_FOR_COLUMN_ALIAS.contains(&word.keyword));
        if is_name && let Token::Word(word) = &mut tokens[i].token {
            word.value = word.value.to_ascii_lowercase();
            word.quote_style = Some('"');
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// Can a name end here?
fn ends_name(after: Option<&Token>) -> bool {
    use Keyword::{
        AND, AS, ASC, BETWEEN, DESC, FROM, GROUP, HAVING, IN, IS, LIKE, LIMIT, NULLS, OR, ORDER, WHERE,
    };
    match after {
        None => true,
        Some(Token::Word(word)) => {
            let words = [
                AND, AS, ASC, BETWEEN, DESC, FROM, GROUP, HAVING, IN, IS, LIKE, LIMIT, NULLS, OR, ORDER,
                WHERE,
            ];
            words.contains(&word.keyword)
        }
        // Not `<`, which begins the types of a struct, and not `-`, which may begin the length of an interval.
        Some(token) => matches!(
            token,
            Token::Comma
                | Token::RArrow
                | Token::RParen
                | Token::SemiColon
                | Token::EOF
                | Token::Eq
                | Token::Neq
                | Token::Gt
                | Token::GtEq
                | Token::LtEq
                | Token::Div
                | Token::Mod
                | Token::StringConcat
                | Token::DoubleColon
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use datafusion::prelude::SessionContext;
    use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;

    use crate::sql::parse::parse;

    /// A query with a name in it, how many columns come out, and which of them has the name.
    type Use = (&'static str, Option<(usize, usize)>);

    /// What people use names for.
    const USES: &[(&str, &[Use])] = &[
        ("alias", &[("SELECT 1 AS NAME", Some((1, 0)))]),
        (
            "column",
            &[
                ("SELECT NAME FROM (SELECT 1 AS NAME) AS t", Some((1, 0))),
                (
                    "SELECT 1 AS a, NAME, min(NAME) OVER (PARTITION BY NAME ORDER BY NAME DESC, NAME), t.NAME AS b \
                     FROM (SELECT 1 AS NAME) AS t JOIN (SELECT 1 AS x) AS u ON t.NAME = u.x \
                     WHERE NAME = 1 AND 1 < NAME AND NAME IS NOT NULL ORDER BY NAME DESC, NAME",
                    Some((4, 1)),
                ),
                (
                    "SELECT 1 AS a, count(*) AS n, sum(1 + NAME) AS s, NAME FROM (SELECT 1 AS NAME) AS t GROUP BY NAME",
                    Some((4, 3)),
                ),
            ],
        ),
    ];

    /// The words that need quotes, by use. All others need none.
    const QUOTED: &[(&str, &str)] = &[
        ("alias", "end-exec"),
        (
            "column",
            "all current_date current_time current_timestamp distinct end-exec false from not null returning true",
        ),
        ("parameter", "end-exec"),
    ];

    #[test]
    fn words_of_sql_are_names_without_quotes_but_for_these() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let state = SessionContext::new().state();
        let mut quoted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for word in ALL_KEYWORDS {
            let word = word.to_lowercase();
            let is_name = |sql: &str, wanted: &Option<(usize, usize)>| {
                let parsed = parse(&sql.replace("NAME", &word), 0).ok()?;
                let plan = runtime.block_on(state.statement_to_plan(parsed.statement)).ok()?;
                let fields = plan.schema().fields();
                wanted.is_none_or(|(n, i)| fields.len() == n && *fields[i].name() == word).then_some(())
            };
            for (purpose, queries) in USES {
                if queries.iter().any(|(sql, wanted)| is_name(sql, wanted).is_none()) {
                    quoted.entry(purpose).or_default().push(word.clone());
                }
            }
            let call = format!("SELECT * FROM f({word} => 1, b => ${word}) AS t");
            let printed = parse(&call, 0).map(|parsed| parsed.statement.to_string().replace('"', ""));
            if printed != Ok(call) {
                quoted.entry("parameter").or_default().push(word);
            }
        }
        let quoted: Vec<(&str, String)> =
            quoted.into_iter().map(|(use_, words)| (use_, words.join(" "))).collect();
        let wanted: Vec<(&str, String)> =
            QUOTED.iter().map(|(use_, words)| (*use_, (*words).to_owned())).collect();
        assert_eq!(quoted, wanted);
    }

    #[test]
    fn words_that_mean_something_stay() {
        for sql in [
            "SELECT a, b FROM t WHERE x IN (SELECT y FROM u) ORDER BY 1, 2 LIMIT 5",
            "SELECT count(DISTINCT a), b FROM t GROUP BY ALL",
            "SELECT CASE WHEN a THEN 1 ELSE 2 END, INTERVAL '1 day' FROM t WHERE EXISTS (SELECT 1) AND a = ANY (SELECT 2)",
            "SELECT trim(BOTH ' ' FROM a), a IS DISTINCT FROM b FROM t GROUP BY ROLLUP (a, b)",
            "SELECT a FROM t UNION ALL SELECT b FROM u EXCEPT SELECT c FROM v",
        ] {
            let printed = parse(sql, 0).unwrap().statement.to_string();
            assert!(!printed.contains('"'), "{printed}");
        }
    }
}
