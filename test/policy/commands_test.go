package policy

import (
	. "github.com/onsi/ginkgo/v2"
)

// What is told of a command that does not end.
const (
	endless = "spec.…template.spec.containers[0] (main0): …never ends: let the command end"
	tooLong = "spec.…template.spec.containers[0] (main0): …sleeps for more than 3600 seconds"
	looping = "spec.…template.spec.containers[0] (main0): …is a loop without end"
	waiting = "spec.…template.spec.containers[0] (main0): …waits for input that nobody gives"
)

var _ = Describe("The site's rules", func() {
	DescribeTable("see a command that does not end:",
		func(problem string, words ...string) { expectProblems(command(words...), problem) },

		Entry("sleep infinity", endless, "sleep", "infinity"),
		Entry("sleep inf", endless, "sleep", "inf"),
		Entry("sleep INFINITY", endless, "sleep", "INFINITY"),
		Entry("with a path", endless, "/bin/sleep", "infinity"),
		Entry("of busybox", endless, "busybox", "sleep", "infinity"),
		Entry("under tini", endless, "/sbin/tini", "-s", "--", "sleep", "infinity"),
		Entry("under dumb-init and a shell", endless, "/usr/bin/dumb-init", "--", "bash", "-c", "sleep infinity"),
		Entry("under env with a variable", endless, "/usr/bin/env", "DEBUG=1", "sleep", "infinity"),
		Entry("in a shell", endless, "/bin/sh", "-c", "sleep infinity"),
		Entry("in a login shell with options", endless, "bash", "-euo", "pipefail", "-lc", "sleep infinity"),
		Entry("with many blanks", endless, "sh", "-c", "  sleep \t  infinity  "),
		Entry("in quotes", endless, "sh", "-c", `"sleep" 'infinity'`),
		Entry("with a backslash", endless, "sh", "-c", `\sleep infinity`),
		Entry("over two lines", endless, "sh", "-c", "sleep \\\n infinity"),
		Entry("behind the work", endless, "sh", "-c", "python train.py; sleep infinity"),
		Entry("behind the work, without a blank", endless, "sh", "-c", "python train.py;sleep infinity"),
		Entry("if the work succeeds", endless, "sh", "-c", "python train.py && sleep infinity"),
		Entry("if the work fails", endless, "sh", "-c", "python train.py || sleep infinity"),
		Entry("in the last line", endless, "bash", "-c", "set -e\npython train.py\nsleep infinity\n"),
		Entry("with exec", endless, "sh", "-c", "exec sleep infinity"),
		Entry("with exec in a condition", endless, "sh", "-c", "if ! python train.py; then exec sleep infinity; fi"),
		Entry("in parentheses", endless, "sh", "-c", "(sleep infinity)"),
		Entry("in braces", endless, "sh", "-c", "train || { echo failed; sleep infinity; }"),
		Entry("in the background, waited for", endless, "sh", "-c", "sleep infinity & wait"),
		Entry("in a trap", endless, "bash", "-c", "trap 'sleep infinity' EXIT; train"),
		Entry("in a shell in a shell", endless, "bash", "-c", `nohup bash -c "sleep infinity"`),
		Entry("with its output thrown away", endless, "sh", "-c", "sleep infinity > /dev/null 2>&1"),
		Entry("with a variable in front", endless, "sh", "-c", "X=1 sleep infinity"),
		Entry("in front of a comment", endless, "sh", "-c", "sleep infinity # until I come back"),
		Entry("of perl", endless, "perl", "-e", "sleep"),

		Entry("an hour and a second", tooLong, "sleep", "3601"),
		Entry("many seconds", tooLong, "sleep", "99999999999999999999"),
		Entry("1e9 seconds", tooLong, "sleep", "1e9"),
		Entry("a huge exponent", tooLong, "sleep", "1e999"),
		Entry("minutes", tooLong, "sleep", "61m"),
		Entry("hours", tooLong, "sleep", "1.5h"),
		Entry("days", tooLong, "sh", "-c", "echo start; sleep 365d"),
		Entry("a sum", tooLong, "sleep", "30m", "31m"),
		Entry("of perl, in seconds", tooLong, "perl", "-e", "sleep 100000"),
		Entry("a call of perl", tooLong, "perl", "-e", "sleep(100000);"),
		Entry("a call of python", tooLong, "python3", "-c", "import time; time.sleep(86400)"),
		Entry("a call of python with underscores", tooLong, "python3", "-c", "import time; time.sleep(1_000_000.0)"),

		Entry("python, to infinity", endless, "python3", "-c", "import time; time.sleep(float('inf'))"),
		Entry("python, to another infinity", endless, "python", "-c", "import time, math\ntime.sleep( math.inf )"),
		Entry("python, a power", endless, "python", "-c", "from time import sleep; sleep(10**9)"),
		Entry("python, a signal", endless, "python", "-c", "import signal; signal.pause()"),
		Entry("python, an event", endless, "python", "-c", "import threading; threading.Event().wait()"),
		Entry("python, select", endless, "python", "-c", "import select; select.select([], [], [])"),
		Entry("node, an interval", endless, "node", "-e", "setInterval(() => {}, 1000)"),
		Entry("node, a promise", endless, "node", "-e", "await new Promise(() => {})"),

		Entry("tail -f /dev/null", endless, "tail", "-f", "/dev/null"),
		Entry("tail -F", endless, "tail", "-n0", "-F", "/dev/null"),
		Entry("tail --follow", endless, "tail", "--follow=name", "log.txt"),
		Entry("tail without a blank", endless, "sh", "-c", "train; tail -f/dev/null"),
		Entry("tail of a log", endless, "sh", "-c", "train > log.txt; tail -f log.txt"),
		Entry("tail of nothing in the background", endless, "sh", "-c", "tail -f /dev/null & wait"),
		Entry("yes", endless, "yes"),
		Entry("yes to nobody", endless, "sh", "-c", "yes > /dev/null"),
		Entry("watch", endless, "sh", "-c", "watch -n 10 nvidia-smi"),

		Entry("while true", looping, "sh", "-c", "while true; do sleep 30; done"),
		Entry("while true without blanks", looping, "sh", "-c", "while true;do :;done"),
		Entry("while :", looping, "bash", "-c", "while :; do sleep 1; done"),
		Entry("while : over lines", looping, "bash", "-c", "python train.py\nwhile :\ndo\n  sleep 60\ndone"),
		Entry("while [ 1 ]", looping, "sh", "-c", "while [ 1 ]; do sleep 1; done"),
		Entry("while [[ true ]]", looping, "bash", "-c", "while [[ true ]]; do sleep 1; done"),
		Entry("while ((1))", looping, "bash", "-c", "while ((1)); do sleep 1; done"),
		Entry("while 1 = 1", looping, "sh", "-c", `while [ "1" = "1" ]; do sleep 1; done`),
		Entry("while sleep", looping, "sh", "-c", "while sleep 60; do date; done"),
		Entry("while ! false", looping, "sh", "-c", "while ! false; do sleep 1; done"),
		Entry("until false", looping, "sh", "-c", "until false; do sleep 1; done"),
		Entry("for ((;;))", looping, "bash", "-c", "for ((;;)); do sleep 1; done"),
		Entry("for (( ; ; ))", looping, "bash", "-c", "for (( ; ; )) do sleep 1; done"),
		Entry("a loop behind one that ends", looping, "sh", "-c",
			"while true; do test -f go && break; done\ntrain\nwhile true; do sleep 1; done"),
		Entry("a loop with a break in front only", looping, "sh", "-c", "for i in 1 2; do break; done; while true; do date; done"),
		Entry("a loop that a comment lets end", looping, "sh", "-c", "while true; do date; done # breakfast"),
		Entry("a loop of python", looping, "python", "-c", "while True:\n  print('alive')\n"),
		Entry("a loop of perl", looping, "perl", "-e", "while (1) { print 1 }"),
		Entry("a loop of node", looping, "node", "-e", "for (;;) {}"),

		Entry("cat", waiting, "cat"),
		Entry("cat -", waiting, "cat", "-"),
		Entry("cat behind the work", waiting, "sh", "-c", "train; cat"),
		Entry("read", waiting, "bash", "-c", "read"),
		Entry("read behind the work", waiting, "bash", "-c", "train\nread -r answer"),
		Entry("pause", waiting, "/pause"),
	)

	DescribeTable("let a command pass that ends:",
		func(words ...string) { expectProblems(command(words...)) },

		Entry("a program", "python", "train.py"),
		Entry("sleep 30", "sleep", "30"),
		Entry("an hour", "sleep", "3600"),
		Entry("an hour in minutes", "sleep", "60m"),
		Entry("a short sum", "sleep", "30m", "30m"),
		Entry("half a second", "sh", "-c", "sleep .5; sleep 0.5s"),
		Entry("a sleep with much output", "sh", "-c", "sleep 5 > /dev/null 2>&1; echo 99999"),
		Entry("an option of that name", "detect", "--sleep-infinity-detection"),
		Entry("an option with that value", "simulate", "--sleep", "infinity"),
		Entry("a path of that name", "sh", "-c", "cp /data/sleep/infinity.txt . && train"),
		Entry("a script of that name", "bash", "sleep_infinity.sh"),
		Entry("its words as a text", "python", "ask.py", "How do cats sleep? while true; do sleep infinity; done"),
		Entry("its words in a message", "sh", "-c", `echo "never use sleep infinity"; train`),
		Entry("its words in a comment", "sh", "-c", "# sleep infinity\ntrain # ; sleep infinity"),
		Entry("a comment on a loop", "sh", "-c", "# while true; do date; done\ntrain"),
		Entry("a sleep of python", "python", "-c", "import time; time.sleep(3600); print('done')"),
		Entry("a sleep of a variable", "python", "-c", "import time; time.sleep(delay)"),
		Entry("a loop with break", "sh", "-c", "while true; do test -f done && break; sleep 30; done"),
		Entry("a loop with exit", "bash", "-c", "while :\ndo\n  if train; then exit 0; fi\n  sleep 60\ndone"),
		Entry("a loop with return", "bash", "-c", "f() { while true; do train && return; done; }; f"),
		Entry("a loop in the background", "sh", "-c", "while true; do nvidia-smi; sleep 60; done > gpu.log 2>&1 &\ntrain"),
		Entry("a loop in parentheses in the background", "sh", "-c", "(while true; do date; sleep 60; done) & train"),
		Entry("a loop under timeout", "timeout", "600", "sh", "-c", "while true; do date; sleep 1; done"),
		Entry("a loop with a condition", "sh", "-c", "while true && ! test -f done; do sleep 1; done"),
		Entry("a loop over lines", "sh", "-c", "while read line; do echo $line; done < list.txt"),
		Entry("a loop over numbers", "bash", "-c", "for ((i=0; i<10; i++)); do train $i; done"),
		Entry("until something is there", "sh", "-c", "until test -f done; do sleep 10; done"),
		Entry("a loop of python with break", "python", "-c", "while True:\n  if step():\n    break\n"),
		Entry("tail of a log in the background", "sh", "-c", "tail -f log.txt & train > log.txt"),
		Entry("tail of a log that ends", "sh", "-c", "train > log.txt & tail --pid $! -f log.txt"),
		Entry("tail of a log to a program that ends", "sh", "-c", "tail -f log.txt | grep -m1 ready"),
		Entry("tail under timeout", "timeout", "60", "tail", "-f", "log.txt"),
		Entry("tail without -f", "sh", "-c", "train; tail -n 20 log.txt"),
		Entry("yes to a program", "sh", "-c", "yes | ./install.sh"),
		Entry("yes as a case", "sh", "-c", "case $1 in\n yes) train;;\n no) exit;;\nesac"),
		Entry("watch until a change", "watch", "-g", "ls"),
		Entry("cat of a file", "cat", "/etc/hostname"),
		Entry("cat in a pipe", "sh", "-c", "train | cat"),
		Entry("read of a file", "sh", "-c", "read x < /etc/hostname; echo $x"),
		Entry("wait", "sh", "-c", "train 0 & train 1 & wait"),
		Entry("a program named pause-free", "/usr/bin/pause-free"),
	)

	DescribeTable("see more than the command of the first container:",
		func(spec string, problems ...string) { expectProblems(specOf(spec), problems...) },

		Entry("args", `template: {spec: {containers: [{args: [sleep, infinity]}]}}`, endless),
		Entry("args behind a command", `template: {spec: {containers: [{command: [sleep], args: [infinity]}]}}`, endless),
		Entry("code for a shell of the image", `template: {spec: {containers: [{args: ["train; sleep infinity"]}]}}`, endless),
		Entry("an init container", `template: {spec: {initContainers: [{command: [sleep, infinity]}]}}`,
			"template.spec.initContainers[0] (init0): …never ends"),
		Entry("a sidecar", `template: {spec: {initContainers: [{command: [tail, -f, /dev/null], restartPolicy: Always}]}}`),
		Entry("a second container", `template: {spec: {containers: [{}, {command: [sleep, infinity]}]}}`,
			"template.spec.containers[1] (main1): …never ends"),
		Entry("a shell with an open input", `template: {spec: {containers: [{command: [bash], stdin: true}]}}`, waiting),
		Entry("a shell without input", `template: {spec: {containers: [{command: [bash]}]}}`),
		Entry("a program with an open input", `template: {spec: {containers: [{command: [./train], stdin: true}]}}`),
		Entry("no command", `template: {spec: {containers: [{command: [], args: []}]}}`,
			"template.spec.containers[0] (main0): has neither command nor args"),
		Entry("args and no command", `template: {spec: {containers: [{args: [--fast]}]}}`),
		Entry("several problems of a command",
			`template: {spec: {containers: [{command: [sh, -c, "sleep 2h; yes; while true; do sleep inf; done"]}]}}`,
			`"sleep inf" never ends`, `"sleep 2h" sleeps for more than 3600 seconds`, `"yes" never ends`, "is a loop without end"),
	)

	It("see no command where the site does not want it", func() {
		setFigures(map[string]string{"commandsEnd": "", "requireCommand": ""})
		expectProblems(command("sleep", "infinity"))
		expectProblems(specOf(`template: {spec: {containers: [{command: [], args: []}]}}`))
	})

	It("take another maximum for sleeps, or none", func() {
		setFigures(map[string]string{"maxSleepSeconds": "60"})
		expectProblems(command("sleep", "61"), "sleeps for more than 60 seconds")
		expectProblems(command("sleep", "60"))
		patchFigures(map[string]string{"maxSleepSeconds": ""})
		expectProblems(command("sleep", "365d"))
		expectProblems(command("sleep", "infinity"), endless)
	})
})
