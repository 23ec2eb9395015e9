//! Finds names that look like one that is not there.

/// `; did you mean 'x'?` with the candidates nearest to `name`, or nothing.
pub fn near<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let names = ranked(name, candidates);
    let names: Vec<String> = names.iter().take(3).map(|name| format!("'{name}'")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

/// The candidate that is nearest to `name`, if one is near.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    ranked(name, candidates).into_iter().next()
}

fn ranked<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(usize, &str)> = candidates
        // The same name is no suggestion.
        .filter(|c| !c.eq_ignore_ascii_case(name))
        .filter(|c| is_near(&wanted, &c.to_lowercase()))
        .map(|c| (distance(&wanted, &c.to_lowercase()), c))
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().map(|(_, name)| name).collect()
}

/// Is `name` `other`, a part of it, or its beginning, but for a few letters?
fn is_near(name: &str, other: &str) -> bool {
    let length = name.chars().count();
    let begin: String = other.chars().take(length + 1).collect();
    distance(name, other) <= most(name)
        || length > 2 && other.contains(name)
        || length > 5 && distance(name, &begin) <= most(name)
}

/// Edits between names that are near: with more, half of a short name would be another.
fn most(name: &str) -> usize {
    match name.chars().count() {
        0..=1 => 0,
        2 => 1,
        3..=5 => 2,
        more => more / 3,
    }
}

/// Edits (insert, delete, replace, exchange neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(near("lisens", ["listens", "kmem"].into_iter()), "; did you mean 'listens'?");
        assert_eq!(near("bytes", ["bytes_req", "ptr"].into_iter()), "; did you mean 'bytes_req'?");
        assert_eq!(near("zzzz", ["listens", "kmem"].into_iter()), "");
        assert_eq!(near("Kmem", ["listens", "kmem"].into_iter()), "");
        assert_eq!(nearest("thresold", ["count", "threshold_ns"].into_iter()), Some("threshold_ns"));
        assert_eq!(nearest("cuont", ["cot", "count"].into_iter()), Some("count"));
        assert_eq!((distance("kitten", "sitting"), distance("ab", "ba"), distance("", "ab")), (3, 1, 2));
    }
}
