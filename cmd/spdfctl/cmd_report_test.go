package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A watched page is read anew at every request, and only for this machine.
func TestServePage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "metrics.jsonl")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	a := &app{stdout: io.Discard, stderr: io.Discard}
	get := func(host, target, method string) *httptest.ResponseRecorder {
		q := httptest.NewRequest(method, target, nil)
		q.Host = host
		w := httptest.NewRecorder()
		a.servePage(w, q, "", []string{dir})
		return w
	}
	write("{\"step\":41,\"loss\":2}\n")
	if w := get("127.0.0.1:8765", "/", http.MethodGet); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<td>41</td>") ||
		!strings.Contains(w.Body.String(), `http-equiv="refresh" content="5"`) {
		t.Errorf("first page: %d", w.Code)
	}
	write("{\"step\":41,\"loss\":2}\n{\"step\":42,\"loss\":1}\n")
	if w := get("localhost:8765", "/", http.MethodGet); !strings.Contains(w.Body.String(), "<td>42</td>") {
		t.Error("the page did not follow the run")
	}
	for _, tc := range []struct {
		host, target, method string
		want                 int
	}{
		{"evil.example:8765", "/", http.MethodGet, http.StatusForbidden},
		{"10.0.0.1", "/", http.MethodGet, http.StatusForbidden},
		{"[::1]:8765", "/", http.MethodGet, http.StatusOK},
		{"127.0.0.1", "/metrics.jsonl", http.MethodGet, http.StatusNotFound},
		{"127.0.0.1", "/", http.MethodPost, http.StatusMethodNotAllowed},
	} {
		if w := get(tc.host, tc.target, tc.method); w.Code != tc.want {
			t.Errorf("%s %s%s: %d, want %d", tc.method, tc.host, tc.target, w.Code, tc.want)
		}
	}
	write("broken\n")
	if w := get("127.0.0.1", "/", http.MethodGet); w.Code != http.StatusInternalServerError || w.Header().Get("Refresh") != "5" {
		t.Errorf("a broken run: %d, refresh %q", w.Code, w.Header().Get("Refresh"))
	}
}

// The server says where it listens and stops with its context.
func TestWatchReport(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte("{\"step\":1}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	a := &app{stdout: w, stderr: io.Discard}
	go func() {
		err := a.watchReport(ctx, reportFlags{listen: "127.0.0.1:0"}, []string{dir})
		w.CloseWithError(err)
		done <- err
	}()
	line := make([]byte, 100)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !strings.Contains(string(body), "<h1>Report: ") {
		t.Errorf("%.200s: %v", body, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
