/* A device with mbedTLS, as ESP-IDF, Zephyr and Arduino for ESP32 have it. */
#include "device.h"
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>

static const char *reason(int fault)
{
    static char text[256];
    mbedtls_strerror(fault, text, sizeof text);
    return text;
}

/* verified tells why the chain or the name is refused. */
static const char *verified(mbedtls_ssl_context *ssl)
{
    static char text[512];
    unsigned flags = mbedtls_ssl_get_verify_result(ssl);
    if (flags == 0 || flags == (unsigned)-1)
        return NULL;
    mbedtls_x509_crt_verify_info(text, sizeof text, "", flags);
    text[strcspn(text, "\n")] = 0;
    return text;
}

static int tls_write(void *ssl, unsigned char *data, int size) { return mbedtls_ssl_write(ssl, data, size); }
static int tls_read(void *ssl, unsigned char *data, int size) { return mbedtls_ssl_read(ssl, data, size); }

int main(int argc, char **argv)
{
    static mbedtls_entropy_context entropy;
    static mbedtls_ctr_drbg_context random;
    static mbedtls_ssl_context ssl;
    static mbedtls_ssl_config config;
    static mbedtls_x509_crt root, cert;
    static mbedtls_pk_context key;
    static mbedtls_net_context connection;
    char version[32];
    int fault;

    mbedtls_version_get_string_full(version);
    printf("%s\n", version);
    struct device d = called(argc, argv);
    mbedtls_entropy_init(&entropy), mbedtls_ctr_drbg_init(&random), mbedtls_ssl_init(&ssl), mbedtls_ssl_config_init(&config);
    mbedtls_x509_crt_init(&root), mbedtls_x509_crt_init(&cert), mbedtls_pk_init(&key), mbedtls_net_init(&connection);
    mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0);
    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    if ((fault = mbedtls_x509_crt_parse_file(&root, d.root)))
        failed("root", "%s", reason(fault));
    mbedtls_ssl_conf_ca_chain(&config, &root, NULL);
    if (d.cert) {
#if MBEDTLS_VERSION_MAJOR >= 3
        fault = mbedtls_pk_parse_keyfile(&key, d.key, NULL, mbedtls_ctr_drbg_random, &random);
#else
        fault = mbedtls_pk_parse_keyfile(&key, d.key, NULL);
#endif
        if (fault || (fault = mbedtls_x509_crt_parse_file(&cert, d.cert)) || (fault = mbedtls_ssl_conf_own_cert(&config, &cert, &key)))
            failed("credential", "%s", reason(fault));
    }
    mbedtls_ssl_setup(&ssl, &config);
    mbedtls_ssl_set_hostname(&ssl, d.host);
    connection.fd = dialed(&d);
    mbedtls_ssl_set_bio(&ssl, &connection, mbedtls_net_send, mbedtls_net_recv, NULL);
    while ((fault = mbedtls_ssl_handshake(&ssl)))
        if (fault != MBEDTLS_ERR_SSL_WANT_READ && fault != MBEDTLS_ERR_SSL_WANT_WRITE)
            failed("tls", "%s", verified(&ssl) ? verified(&ssl) : reason(fault));
    mqtt(&d, tls_write, tls_read, &ssl);
    return 0;
}
