use super::*;

#[test]
fn the_object_has_the_sections_that_are_renamed() {
    let names = Sections { entry: Some("kprobe"), ..Sections::of_events("kretprobe", false, 1) };
    let copy = copy(names, &Constants::default()).unwrap();
    let bytes: Vec<u8> = copy.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"\0kretprobe\0") || has(b".relkretprobe\0"));
    assert!(!has(b"ktape_event_program"));
}
