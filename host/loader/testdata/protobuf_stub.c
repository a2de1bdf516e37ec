/* Stands in for a library that plugins may not link. */
__attribute__((visibility("default"))) int protobuf_stub(void);
int protobuf_stub(void) { return 0; }
