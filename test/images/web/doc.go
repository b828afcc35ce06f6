// Web is the program of the demo's images: a small web server that says who it is.
//
//	GET /         "<hostname> <version> <greeting>", the greeting from the file that a ConfigMap makes
//	GET /lookup   what the Pod's resolver says about a name; see lookup.go
//	GET /dialled  what came of connecting, when it started, to the address in DIAL
//	GET /healthz  200 while the server wants traffic, 503 while it starts and once it was told to stop
//
// Environment: PORT (8080), VERSION, GREETING_FILE, START_DELAY, LINGER, LIFE, after which it ends by itself with success, and BURN, during which it takes all the processor time that it gets
// (Go durations).
package main
