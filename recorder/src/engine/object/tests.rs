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

/// A copy is an object as the compiler makes one, and nothing more can be taken out of it.
#[test]
fn a_copy_is_whole_in_itself() {
    let sections = Sections::of_events("kretprobe", false, 3);
    let sections = Sections { entry: Some("kprobe"), exit: Some("raw_tp"), ..sections };
    let copy: &'static [u64] = copy(sections, &Constants::default()).unwrap().leak();
    let layout = Layout::read(copy.as_bytes()).unwrap();
    let whole = &known().unwrap().layout;
    let count = |layout: &Layout| layout.sections.iter().map(layout::Section::len).sum::<usize>();
    assert!(count(&layout) > 100 && count(&layout) < count(whole) / 10, "{}", count(&layout));
    let names = |name: &&str| ["kretprobe", "kprobe", "raw_tp"].contains(name);
    let programs = layout.sections.iter().enumerate().filter(|(_, section)| names(&section.name));
    let programs: Vec<_> = programs.map(|(section, _)| Place { section, at: 0 }).collect();
    assert_eq!(programs.len(), 5);
    let mut again = copy.to_vec();
    let reached = reach::reach(copy.as_bytes(), &layout, &Facts::new(copy.as_bytes(), &layout), programs);
    shrink::shrink(again.as_mut_bytes(), &layout, &reached);
    assert!(again == copy);
}
