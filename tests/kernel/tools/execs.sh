#!/bin/sh
# native
# with: perl
# Programs that are executed with arguments of all kinds, and calls that fail in known ways. Leaves execs.trace, execs.log and
# the truth as tried.csv: what each process tried, as a shell would write it, and the number of the error.
place=$1
cat >load.pl <<'END'
$| = 1;
mkdir 'dir';
for ([prog => "\x7fELF", 0755], [plain => 'text', 0644], [garbage => "\0\1\2\3", 0755]) {
    my ($name, $text, $mode) = @$_;
    open my $f, '>', $name or die;
    print $f $text;
    close $f;
    chmod $mode, $name;
}
symlink $^X, 'perl';
open my $truth, '>>', 'tried.csv' or die;
# Each is tried by a process of its own, which is known before: it waits for a byte.
sub try {
    my ($program, $error, $written, @args) = @_;
    pipe my $r, my $w;
    my $pid = fork;
    if (!$pid) {
        close $w;
        sysread $r, my $go, 1;
        # execve itself: what perl has may try a shell.
        syscall 59, $program, pack('P' x @args, @args) . pack('Q', 0), 0;
        my $got = $! + 0;
        die "$program: $got, not $error" if $got != $error;
        exit 0;
    }
    $written =~ s/"/""/g;
    syswrite $truth, "$pid,$program,$error,\"$written\"\n";
    syswrite $w, 'x';
    waitpid $pid, 0;
    die "$program ended with $?" if $?;
}
my $long = 'x' x 600;
try('./perl', 0, q{renamed -e 0 'two words' 'it'\''s' '' 'a"b' --x=1,2 '~home'}, 'renamed', '-e', '0', 'two words', "it's", '', 'a"b', '--x=1,2', '~home');
try('./perl', 0, q{./perl -e 0 '$HOME' '*' 'a;b' 'new
line' caf} . "\xc3\xa9", './perl', '-e', 0, '$HOME', '*', 'a;b', "new\nline", "caf\xc3\xa9");
try('./perl', 0, "./perl -e 0 " . 'x' x (510 - 12), './perl', '-e', 0, $long);
try('./missing', 2, '', './missing', 'x');
try('./plain', 13, '', './plain');
try('./garbage', 8, '', './garbage');
try('./plain/x', 20, '', 'x');
try('./perl', 7, '', './perl', 'x' x 200000);
END
echo "pid,program,error,args" >tried.csv
if [ "$place" = native ]; then
    recorder record execs -o execs.trace -- perl load.pl >execs.log 2>&1
else
    recorder record execs -o execs.trace >execs.log 2>&1 &
    recorder=$!
    until grep -qs "recorder: recording" execs.log || ! kill -0 $recorder; do sleep 0.1; done
    perl load.pl >>execs.log 2>&1
    kill -TERM $recorder
    wait $recorder
fi
