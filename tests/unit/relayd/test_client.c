/* Received lines of several servers, and those that would like to be taken for one. */
#include "relayd/client_arguments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char by[] = "mx.isp.example pop.isp.example";

static void expect(const char *header, const char *arguments)
{
    struct client client = {.address = "untouched"};
    char got[CLIENT_ARGUMENTS_SIZE] = "";
    bool found = client_find(header, strlen(header), by, &client);
    if (!found)
        assert_string_equal(client.address, "untouched");
    else
        assert_true(client_arguments(&client, "NAME ADDR PROTO HELO", got));
    assert_string_equal(got, arguments);
}

static void test_servers(void **state)
{
    (void)state;
    static const char usual[] =
        " ADDR=192.0.2.7 PROTO=ESMTP NAME=mail.o.example HELO=helo.o.example";
    expect("Received: from helo.o.example (mail.o.example [192.0.2.7])\n"
           "\tby mx.isp.example (Postfix) with ESMTPS id 1\n\tfor <a@b>; Mon, 1 Jan 2024\n",
           usual);
    expect("Received: from mail.o.example ([192.0.2.7]:25 helo=helo.o.example)\r\n"
           " by MX.isp.example with esmtps (TLS1.3) (Exim 4.96)\r\n id 1 for a@b; Mon\r\n",
           usual);
    expect("Received: from [192.0.2.7] (helo=helo.o.example) by mx.isp.example with smtp (Exim)\n",
           " ADDR=192.0.2.7 PROTO=SMTP NAME=[UNAVAILABLE] HELO=helo.o.example");
    expect("Received: from mail.o.example (HELO helo.o.example) (192.0.2.7)\n"
           "  by pop.isp.example with SMTP; 1 Jan\n",
           " ADDR=192.0.2.7 PROTO=SMTP NAME=mail.o.example HELO=helo.o.example");
    expect("Received: from helo.o.example (192.0.2.7) by mx.isp.example (10.0.0.1) with\n"
           " Microsoft SMTP Server (TLS) id 15.1; Mon\n",
           " ADDR=192.0.2.7 NAME=[UNAVAILABLE] HELO=helo.o.example");
    expect("Received: from helo.o.example (unknown [IPv6:2001:DB8:0::1]) by mx.isp.example with "
           "ESMTP\n",
           " ADDR=IPV6:2001:db8::1 PROTO=ESMTP NAME=[UNAVAILABLE] HELO=helo.o.example");
    expect("Received: from bad_helo (m.o.example [192.0.2.7] (may be forged)) by mx.isp.example;\n",
           " ADDR=192.0.2.7 NAME=[UNAVAILABLE] HELO=[UNAVAILABLE]");
}

static void test_which_line(void **state)
{
    (void)state;
    expect("Received: from mx.isp.example by mx.isp.example with LMTP id 1; x\n"
           "Received: from relay.isp.example ([198.51.100.1]) by store.isp.example with ESMTP; x\n"
           "Received: from h.example (n.example [192.0.2.7]) by mx.isp.example with ESMTP; x\n"
           "Received: from f.example (f.example [203.0.113.9]) by mx.isp.example with ESMTP; x\n",
           " ADDR=192.0.2.7 PROTO=ESMTP NAME=n.example HELO=h.example");
    expect("Received: from f.example (f.example [203.0.113.9]) by other.example with ESMTP\n", "");
    expect("Subject: x\n\nReceived: from f.example (f [203.0.113.9]) by mx.isp.example\n", "");
    expect("", "");
}

/* Nothing is borrowed: not the server's own network, not a line made by HELO or ident. */
static void test_forged(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "from h (n [127.0.0.1])",
        "from h (n [10.1.2.3])",
        "from h (n [IPv6:::1])",
        "from h (n [IPv6:fe80::1])",
        "from h (n [IPv6:::ffff:192.168.0.1])",
        "from h (n [203.0.113.9]) by mx.isp.example (unknown [192.0.2.7])",
        "from h (n [203.0.113.9]) from x (unknown [192.0.2.7])",
        "from h ((n [203.0.113.9]) (unknown [192.0.2.7])",
        "from [203.0.113.9] (unknown [unknown])",
        "from h (IDENT:[203.0.113.9]@n [192.0.2.7])",
        "from h (IDENT:a [203.0.113.9]@n [192.0.2.7])",
        "from a b (n [203.0.113.9])",
        "from h",
        "by mx.isp.example",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char header[400];
        snprintf(header, sizeof header,
                 "Received: %s by mx.isp.example with ESMTP; x\n"
                 "Received: from f (f.example [203.0.113.9]) by mx.isp.example with ESMTP; x\n",
                 lines[i]);
        struct client client;
        if (client_find(header, strlen(header), by, &client) &&
            strcmp(client.address, "192.0.2.7") != 0)
            fail_msg("%s: %s", lines[i], client.address);
    }
}

static void test_arguments(void **state)
{
    (void)state;
    char out[CLIENT_ARGUMENTS_SIZE];
    struct client client = {.address = "192.0.2.7", .helo = "[IPv6:2001:db8::1]"};
    assert_false(client_arguments(&client, "NAME", out));
    assert_true(client_arguments(&client, "name addr  helo", out));
    assert_string_equal(out, " ADDR=192.0.2.7 NAME=[UNAVAILABLE] HELO=[IPv6:2001:db8::1]");
    strcpy(client.helo, "a+b=c d");
    assert_true(client_arguments(&client, "ADDR HELO", out));
    assert_string_equal(out, " ADDR=192.0.2.7 HELO=a+2Bb+3Dc+20d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_servers),
        cmocka_unit_test(test_which_line),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
