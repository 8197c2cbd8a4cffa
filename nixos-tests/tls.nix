# A certificate authority for the tests and the certificate that it gives the appliance.
pkgs:
pkgs.runCommand "test-tls" {nativeBuildInputs = [pkgs.openssl];} ''
  mkdir $out && cd $out
  new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650"
  openssl req -x509 $new -keyout $TMPDIR/ca.key -out ca.crt -subj "/CN=test authority" \
    -addext keyUsage=critical,keyCertSign,cRLSign
  openssl req -x509 $new -CA ca.crt -CAkey $TMPDIR/ca.key -keyout server.key -out server.crt -subj /CN=appliance \
    -addext subjectAltName=DNS:appliance -addext basicConstraints=critical,CA:FALSE
''
