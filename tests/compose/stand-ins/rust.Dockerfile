# A stand-in for rust:1.95-bookworm: its cargo compiles nothing and hands out the program that was built outside.
FROM debian:bookworm-slim
COPY ephemerd /usr/local/lib/ephemerd
COPY cargo.sh /usr/local/bin/cargo
RUN chmod 755 /usr/local/bin/cargo
