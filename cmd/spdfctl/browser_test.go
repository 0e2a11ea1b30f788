//go:build chromium

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// This test opens a report in headless Chromium, over the DevTools protocol on
// two pipes, which needs no library. .ci/run installs the browser and runs it.

// browser is a running Chromium with one page.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	id      int
	session string
	events  []devtoolsMessage
}

// devtoolsMessage is an answer or an event of the protocol.
type devtoolsMessage struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// browserTimeout bounds the whole life of a browser.
const browserTimeout = 90 * time.Second

func startBrowser(t *testing.T) *browser {
	t.Helper()
	toBrowser, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, fromBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// CI runs as root, where Chromium's own sandbox refuses to start.
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
		"--user-data-dir="+t.TempDir())
	cmd.ExtraFiles = []*os.File{toBrowser, fromBrowser}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	toBrowser.Close()
	fromBrowser.Close()
	timer := time.AfterFunc(browserTimeout, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		in.Close()
		out.Close()
		// Its children write to the profile until they are gone.
		group := -cmd.Process.Pid
		syscall.Kill(group, syscall.SIGKILL)
		cmd.Wait()
		for range 500 {
			if syscall.Kill(group, 0) != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	b := &browser{t: t, in: in, out: bufio.NewReader(out)}
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", map[string]any{}, nil)
	}
	return b
}

// read returns the next message of the browser.
func (b *browser) read() devtoolsMessage {
	b.t.Helper()
	data, err := b.out.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("chromium: %v", err)
	}
	var m devtoolsMessage
	if err := json.Unmarshal(data[:len(data)-1], &m); err != nil {
		b.t.Fatal(err)
	}
	return m
}

// call sends a command and waits for its answer; events are kept.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.id++
	message := map[string]any{"id": b.id, "method": method, "params": params}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	data, err := json.Marshal(message)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(data, 0)); err != nil {
		b.t.Fatalf("chromium: %v", err)
	}
	for {
		m := b.read()
		if m.ID != b.id {
			b.events = append(b.events, m)
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("chromium: %s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// open loads a page in a window of this width and waits until it is drawn.
func (b *browser) open(address string, width int) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Page.navigate", map[string]any{"url": address}, nil)
	for _, e := range b.events {
		if e.Method == "Page.loadEventFired" {
			return
		}
	}
	for {
		m := b.read()
		b.events = append(b.events, m)
		if m.Method == "Page.loadEventFired" {
			return
		}
	}
}

// eval runs an expression in the page and decodes its value.
func (b *browser) eval(expression string, value any) {
	b.t.Helper()
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		ExceptionDetails json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	if err := json.Unmarshal(r.Result.Value, value); err != nil {
		b.t.Fatalf("%s: %s: %v", expression, r.Result.Value, err)
	}
}

// complaints returns what the page logged, threw or asked of any network.
func (b *browser) complaints(address string) []string {
	var out []string
	for _, e := range b.events {
		switch e.Method {
		case "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Network.loadingFailed":
			out = append(out, e.Method+": "+string(e.Params))
		case "Network.requestWillBeSent":
			var p struct {
				Request struct {
					URL string `json:"url"`
				} `json:"request"`
			}
			if err := json.Unmarshal(e.Params, &p); err != nil || p.Request.URL != address && !strings.HasPrefix(p.Request.URL, "data:") {
				out = append(out, "request: "+p.Request.URL)
			}
		}
	}
	return out
}

// trainTwoRuns writes a sparse run and its fine-tuned form below dir.
func trainTwoRuns(t *testing.T, dir string) (sparse, tuned string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	text := strings.Repeat("It was the best of times, it was the worst of times, it was the age of wisdom. ", 20)
	if err := os.WriteFile(at("text.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("tune.jsonl"), []byte(`{"prompt":"one ","completion":"two three"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"tokenizer train " + at("text.txt") + " --vocab-size 260 -o " + at("tok"),
		"data prepare " + at("text.txt") + " --val " + at("text.txt") + " --tokenizer " + at("tok") + " -o " + at("tokens"),
		"pretrain --data " + at("tokens") + " --n-layer 2 --n-head 2 --n-embd 16 --n-ctx 16 --sparsity 0.75 --max-steps 20 --batch-size 2 --log-every 1 --eval-every 5 -o " + at("sparse"),
		"finetune --from " + at("sparse") + " --data " + at("tune.jsonl") + " --max-steps 8 --batch-size 1 --log-every 1 -o " + at("tuned"),
	} {
		if code := run(append(strings.Fields(line), "--quiet"), os.Stderr, os.Stderr); code != 0 {
			t.Fatalf("%s: exit code %d", line, code)
		}
	}
	if err := os.WriteFile(at("tuned/scores.json"), []byte(`{"metrics":{"bleu":40.5},"bootstrap":{"intervals":{"bleu":{"low":38,"high":43}}}}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("tuned/samples.jsonl"), []byte(`{"prompt":"one","text":"</script><script>throw 1</script>"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	return at("sparse"), at("tuned")
}

func TestReportInBrowser(t *testing.T) {
	dir := t.TempDir()
	sparse, tuned := trainTwoRuns(t, dir)
	file := filepath.Join(dir, "report.html")
	if code := run([]string{"report", sparse, tuned, "-o", file, "--quiet"}, os.Stderr, os.Stderr); code != 0 {
		t.Fatalf("report: exit code %d", code)
	}
	address := (&url.URL{Scheme: "file", Path: file}).String()
	for _, width := range []int{1280, 390} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			b := startBrowser(t)
			b.open(address, width)
			var drawn struct {
				Charts, SVGs, Lines, Bars, Cells, Tables int
				Overflow                                 int
			}
			b.eval(`({charts: document.querySelectorAll("figure.chart").length, svgs: document.querySelectorAll(".plot svg").length,
				lines: document.querySelectorAll("path.series").length, bars: document.querySelectorAll("rect.bar").length,
				cells: document.querySelectorAll("rect.cell").length, tables: document.querySelectorAll("figure details table").length,
				overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth})`, &drawn)
			// 5 line charts of both runs and validation of one; 2 bar charts of
			// the sparse run, revived weights; sparsity, mask and drift.
			if drawn.Charts != 12 || drawn.SVGs != 12 || drawn.Tables != 12 {
				t.Errorf("%d charts, %d drawn, %d tables, want 12 each", drawn.Charts, drawn.SVGs, drawn.Tables)
			}
			if drawn.Lines != 11 {
				t.Errorf("%d lines, want 11", drawn.Lines)
			}
			if want := 2*9 + 2*3 + 3*12; drawn.Bars != want {
				t.Errorf("%d bars, want %d", drawn.Bars, want)
			}
			if want := 2*6*2 + 16*16; drawn.Cells != want {
				t.Errorf("%d cells, want %d", drawn.Cells, want)
			}
			if drawn.Overflow > 0 {
				t.Errorf("the page is %d pixels wider than the window", drawn.Overflow)
			}
			// A legend button takes its line away and brings it back; the log
			// axis moves it; the pointer reads values.
			var toggled struct {
				Before, Hidden, After int
				Moved                 bool
				Read                  string
			}
			b.eval(`(() => { const f = document.getElementById("loss-tokens"), [a, , log] = f.querySelectorAll("button"), n = () => f.querySelectorAll("path.series").length;
				const before = n(); a.click(); const hidden = n(); a.click(); const after = n();
				const d = () => f.querySelector("path.series").getAttribute("d"), was = d(); log.click(); const moved = d() !== was;
				const svg = f.querySelector("svg"), r = svg.getBoundingClientRect();
				svg.dispatchEvent(new PointerEvent("pointermove", {clientX: r.left + r.width / 2, clientY: r.top + 50}));
				return {before, hidden, after, moved, read: f.querySelector(".readout").textContent}; })()`, &toggled)
			if toggled.Before != 2 || toggled.Hidden != 1 || toggled.After != 2 || !toggled.Moved || !strings.Contains(toggled.Read, "sparse") {
				t.Errorf("toggles: %+v", toggled)
			}
			var labelled bool
			b.eval(`[...document.querySelectorAll(".plot svg")].every(s => s.getAttribute("aria-label").length > 20)`, &labelled)
			if !labelled {
				t.Error("a chart has no text alternative")
			}
			// Dark mode takes other colours.
			var light, dark string
			b.eval(`getComputedStyle(document.body).backgroundColor`, &light)
			b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": "dark"}}}, nil)
			b.eval(`getComputedStyle(document.body).backgroundColor`, &dark)
			if light == dark {
				t.Errorf("background is %s in light and in dark mode", light)
			}
			if list := b.complaints(address); len(list) > 0 {
				t.Errorf("the page complains or asks for something:\n%s", strings.Join(list, "\n"))
			}
		})
	}
}
