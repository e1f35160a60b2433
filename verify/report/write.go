package report

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"io"
)

// The charts are uPlot's: 51 kB with no dependency, no eval and no style of its
// own to load, where Chart.js has 200 kB and ECharts 1 MB for the same bars.
//
//go:embed assets
var assets embed.FS

// asset is a file of the program itself: it is there.
func asset(name string) string {
	content, _ := assets.ReadFile("assets/" + name)
	return string(content)
}

// style, library and script are each one element, whose hash the policy names. uPlot's
// license asks to go where the code goes.
func style() string { return asset("uplot/uPlot.min.css") + "\n" + asset("page.css") }

func library() string {
	return "/*!\n" + asset("uplot/LICENSE") + "*/\n" + asset("uplot/uPlot.iife.min.js")
}

func script() string { return asset("page.js") }

// policy lets nothing be loaded, sent or run but what is in the page.
func policy() string {
	return "default-src 'none'; script-src " + hash(library()) + " " + hash(script()) +
		"; style-src " + hash(style()) + "; base-uri 'none'; form-action 'none'"
}

func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// WriteTo writes the page. The same rows in the same order give the same bytes.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	out := &counter{w: w}
	buffered := bufio.NewWriterSize(out, pieceSize)
	if err := r.write(buffered); err != nil {
		return out.n, err
	}
	err := buffered.Flush()
	return out.n, err
}

// write puts the page together. Style and scripts go round the template, which
// would change them, and then their hashes would be wrong.
func (r *Report) write(w io.Writer) error {
	page, err := template.New("page").Funcs(functions(r.page)).Parse(asset("page.html"))
	if err != nil {
		return err
	}
	v := r.view()
	for _, step := range []func() error{
		func() error { return page.ExecuteTemplate(w, "head", v) },
		func() error { return element(w, "style", style()) },
		func() error { return page.ExecuteTemplate(w, "body", v) },
		func() error { return r.writeData(w, v) },
		func() error { return element(w, "script", library()) },
		func() error { return element(w, "script", script()) },
		func() error { return page.ExecuteTemplate(w, "end", v) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func functions(page Page) template.FuncMap {
	return template.FuncMap{
		"grouped": grouped, "counted": counted, "date": date, "moment": moment, "took": took, "seen": seen,
		"life":     func(c Certificate) string { return life(c, page.Generated) },
		"lifeKind": func(c Certificate) string { return lifeKind(c, page.Generated) },
		"less":     func(a, b int) int { return a - b },
	}
}

func element(w io.Writer, name, content string) error {
	_, err := io.WriteString(w, "<"+name+">"+content+"</"+name+">\n")
	return err
}

// writeData writes what the script reads, as a block that browsers do not run.
func (r *Report) writeData(w io.Writer, v view) error {
	head := struct {
		Schema      string    `json:"schema"`
		Generated   int64     `json:"generated"` // seconds from 1970 on
		Hows        []string  `json:"hows"`
		Credentials []string  `json:"credentials"`
		Causes      []wording `json:"causes"`
		Latency     *chart    `json:"latency,omitempty"`
		Expiry      *chart    `json:"expiry,omitempty"`
	}{
		Schema: "tbcert.report/v1", Generated: r.page.Generated.Unix(),
		Hows: list(r.hows.list), Credentials: list(r.credentials.list), Causes: list(r.causes.list),
	}
	if v.Latency != nil {
		head.Latency = &v.Latency.Chart
	}
	if v.Expiry != nil {
		head.Expiry = &v.Expiry.Chart
	}
	begun, err := json.Marshal(head)
	if err != nil {
		return err
	}
	// The rows are the last member, and are written one by one.
	if _, err := io.WriteString(w, `<script type="application/json" id="data">`+string(begun[:len(begun)-1])+`,"rows":[`); err != nil {
		return err
	}
	if err := r.rows.writeTo(w); err != nil {
		return err
	}
	_, err = io.WriteString(w, "]}</script>\n")
	return err
}

// list is never null, which the script would trip over.
func list[T any](items []T) []T { return append([]T{}, items...) }

// counter counts what reached the writer.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
