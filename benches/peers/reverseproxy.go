// A proxy on net/http/httputil.ReverseProxy, which is what most small credential-injecting proxies written in Go are
// made of, with a transport that keeps enough idle connections. Standard library only.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// buffers lends the copy buffers of bodies, so that they are not allocated for each request.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte       { return *(b.pool.Get().(*[]byte)) }
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }

func main() {
	listen := flag.String("listen", "", "address to listen on")
	upstream := flag.String("upstream", "", "URL of the origin")
	tokenFile := flag.String("token-file", "", "file that holds the token")
	caFile := flag.String("ca-file", "", "certificate that an https origin is verified against")
	flag.Parse()

	token, err := os.ReadFile(*tokenFile)
	if err != nil {
		log.Fatal(err)
	}
	authorization := "Bearer " + strings.TrimSpace(string(token))
	origin, err := url.Parse(*upstream)
	if err != nil {
		log.Fatal(err)
	}

	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 2048,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}
	if *caFile != "" {
		certificate, err := os.ReadFile(*caFile)
		if err != nil {
			log.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(certificate) {
			log.Fatalf("%s: no certificate", *caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}

	lent := &buffers{}
	lent.pool.New = func() any { b := make([]byte, 32<<10); return &b }
	proxy := &httputil.ReverseProxy{
		Director: func(r *http.Request) {
			r.URL.Scheme, r.URL.Host, r.Host = origin.Scheme, origin.Host, origin.Host
			r.Header.Set("Authorization", authorization)
			r.Header["X-Forwarded-For"] = nil
		},
		Transport:     transport,
		FlushInterval: -1,
		BufferPool:    lent,
	}
	log.Fatal((&http.Server{Addr: *listen, Handler: proxy}).ListenAndServe())
}
